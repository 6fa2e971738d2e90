"""Folding of outboxes: a snapshot and the log after it give the same outboxes as the log alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.model.effects import Effects, FinishedCall, Mark, PendingCall
from goverse.model.receipts import Delivery, Receipt, Settlement, number_of
from goverse.model.records import CommitRecord
from goverse.ports.outbox import CallFilter
from goverse.testing.outbox_harness import RECEIVER, SENDER, effects, ended, sent
from goverse.testing.store_harness import NOW_MS
from goverse_node.stores.table import Table
from goverse_node.stores.wal.files import RealFiles
from goverse_node.stores.wal.fold import Fold, name_of

SHARD = 5
Contents = tuple[Sequence[PendingCall], Sequence[FinishedCall], Sequence[Receipt]]


async def contents(table: Table) -> Contents:
    """Return everything that a table keeps of reliable calls between two objects."""
    outbox, both = table.outbox, (SENDER, RECEIVER)
    receipts = [outbox.receipt(one, other) for one in both for other in both]
    pending = outbox.pending([SHARD], after=0, limit=999)
    return pending, await outbox.finished(CallFilter(), NOW_MS, after=None, limit=999), receipts


def replayed(bodies: Sequence[bytes]) -> Table:
    """Return the table that a recovery makes of records."""
    table = Table(bulk=True)
    table.replay(bodies)
    table.settle()
    return table


def _effects(draw: st.DrawFn, seq: int, last: int) -> Effects:
    """Draw the effects of the record at ``seq``. They name calls of earlier records, as those of a node do.

    ``last`` is the number of the last call that the object has settled; the record settles the next one, or none.
    """
    earlier = [number_of(each, part) for each in range(1, seq) for part in (0, 1)]
    some = st.lists(st.sampled_from(earlier), max_size=3, unique=True) if earlier else st.just(list[int]())
    marked, removed = draw(some), draw(some)
    marks = tuple(Mark(number, draw(st.integers(0, 3)), draw(st.sampled_from(["", "x"]))) for number in marked)
    ends = tuple(ended(sent(f"c_{at}"), finished_ms=NOW_MS + at) for at in draw(st.sets(st.integers(0, 3), max_size=2)))
    calls = tuple(sent(f"c_{at}") for at in range(draw(st.integers(0, 2))))
    number = draw(st.sampled_from([None, *(each for each in earlier if each > last)]))
    settled = None
    if number is not None:
        head = draw(st.sampled_from([each for each in earlier if each <= number]))
        settled = Settlement(Delivery(SENDER, number, last, head), b"of %d" % number)
    return Effects(calls, settled, tuple(removed), marks, ends)


@st.composite
def histories(draw: st.DrawFn) -> list[CommitRecord]:
    """Draw records of both objects with effects on each other. The first record has position 1."""
    last = {SENDER: 0, RECEIVER: 0}
    history: list[CommitRecord] = []
    for seq in range(1, draw(st.integers(1, 8)) + 1):
        key = draw(st.sampled_from([SENDER, RECEIVER]))
        made = _effects(draw, seq, last[key])
        if made.settles is not None:
            last[key] = made.settles.delivery.number
        history.append(replace(effects(key, SHARD), effects=made))
    return history


@pytest.mark.requirement("WAL-2")
@given(histories(), st.integers(0, 8), st.sampled_from([1, 300, 1 << 20]))
async def test_a_snapshot_and_the_log_after_it_equal_the_log(
    tmp_path_factory: pytest.TempPathFactory, history: list[CommitRecord], cut: int, run_bytes_max: int
) -> None:
    table, log = Table(), list[bytes]()
    for seq, record in enumerate(history, 1):
        (refused,), pieces = table.stage([record], seq, NOW_MS)
        assert refused == seq
        table.apply_staged()
        log += pieces[1::2]
    live = await contents(table)
    base: list[bytes] = []
    for part in (log[:cut], log[cut:]):
        fold = Fold(tmp_path_factory.getbasetemp(), RealFiles(), run_bytes_max=run_bytes_max)
        fold.add(part)
        base = list(fold.merged(base, now_ms=NOW_MS, tombstones_before_ms=0))
        fold.close()
        assert [name_of(body) for body in base] == sorted({name_of(body) for body in base})

    assert await contents(replayed(log)) == live
    assert await contents(replayed(base)) == live
