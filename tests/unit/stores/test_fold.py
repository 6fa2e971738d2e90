"""Folding a log gives the same table as replaying it, for every size of the runs."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse_node.stores.encoding import COMMIT, decode
from goverse_node.stores.table import Table
from goverse_node.stores.wal.files import RealFiles
from goverse_node.stores.wal.fold import Fold

NOW_MS = 1_000_000
STEPS = st.lists(
    st.tuples(
        st.sampled_from([ObjectKey(one, two, three) for one in "nm" for two in ("T", "TT") for three in "ab"]),
        st.booleans(),
        st.none() | st.sampled_from(["k1", "k2", "k3"]),
        st.booleans(),
    ),
    max_size=60,
)


def log_of(steps: list[tuple[ObjectKey, bool, str | None, bool]]) -> list[bytes]:
    """Return the bodies of the log that these steps write."""
    table = Table()
    bodies: list[bytes] = []
    for key, lives, idempotency_key, lasts in steps:
        found = table.load(key)
        version = found.version if found is not None else 0
        reply = StoredReply(b"f", b"r", 5 + (1 if lasts else -1)) if idempotency_key else None
        record = CommitRecord(
            key, version, version + 1, b"%d" % version if lives else None, 1, 5, idempotency_key, reply
        )
        _, pieces = table.stage([record], len(bodies) + 1, NOW_MS)
        table.apply_staged()
        bodies += pieces[1::2]
    return bodies


def table_of(*logs: list[bytes]) -> Table:
    """Return the table that a recovery builds from these records."""
    table = Table(bulk=True)
    for log in logs:
        table.replay(log)
    table.settle()
    return table


def content_of(table: Table) -> dict[tuple[str, str], tuple[dict[str, bytes], dict[str, bytes], int]]:
    """Return the contents of a table."""
    return {
        each.name: (each.objects, each.replies, each.floor)
        for each in table.type_tables()
        if each.objects or each.replies or each.floor
    }


@pytest.mark.requirement("WAL-2")
@given(STEPS, st.integers(0, 60), st.sampled_from([1, 500, 1 << 20]))
def test_folding_equals_replaying(
    steps: list[tuple[ObjectKey, bool, str | None, bool]], cut: int, run_bytes_max: int
) -> None:
    log = log_of(steps)
    with TemporaryDirectory() as folder:
        snapshot: list[bytes] = []
        for part in (log[:cut], log[cut:]):
            fold = Fold(Path(folder), RealFiles(), run_bytes_max=run_bytes_max)
            fold.add(part)
            snapshot = list(fold.merged(snapshot, now_ms=NOW_MS, tombstones_before_ms=0))
            fold.close()
            assert list(Path(folder).iterdir()) == []

    assert content_of(table_of(snapshot)) == content_of(table_of(log))
    names = [decode(body) for body in snapshot]
    ordered = [(one.namespace, one.type, one.id) for one in names if one.what == COMMIT]
    assert ordered == sorted(ordered)
    assert content_of(table_of(snapshot, log[cut:])) == content_of(table_of(log)), "replaying twice is harmless"


@pytest.mark.requirement("WAL-2")
@given(STEPS, st.integers(0, 60))
def test_versions_never_go_back_when_tombstones_are_forgotten(
    steps: list[tuple[ObjectKey, bool, str | None, bool]], cut: int
) -> None:
    log = log_of(steps)
    with TemporaryDirectory() as folder:
        snapshot: list[bytes] = []
        for part in (log[:cut], log[cut:]):
            fold = Fold(Path(folder), RealFiles())
            fold.add(part)
            snapshot = list(fold.merged(snapshot, now_ms=NOW_MS, tombstones_before_ms=NOW_MS))
            fold.close()

    folded, replayed = table_of(snapshot), table_of(log)
    for key in {step[0] for step in steps}:
        before, after = replayed.load(key), folded.load(key)
        assert before is not None
        assert after is not None
        assert after.version >= before.version
        assert after.state == before.state
