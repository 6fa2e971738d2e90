"""Folding of outboxes: a snapshot and the log after it give the same outboxes as the log alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.model.effects import Effects, FinishedCall, Mark, PendingCall
from goverse.model.receipts import Receipt, number_of
from goverse.model.records import CommitRecord
from goverse.ports.outbox import CallFilter
from goverse.testing.outbox_harness import RECEIVER, SENDER, effects, ended, sent, settles
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


def _effects(draw: st.DrawFn, seqs: Sequence[int]) -> Effects:
    numbers = st.sampled_from([number_of(seq, part) for seq in seqs for part in (0, 1)])
    some = draw(st.lists(numbers, max_size=3, unique=True))
    marks = tuple(Mark(number, draw(st.integers(0, 3)), draw(st.sampled_from(["", "x"]))) for number in some)
    ends = tuple(ended(sent(f"c_{at}"), finished_ms=NOW_MS + at) for at in draw(st.sets(st.integers(0, 3), max_size=2)))
    calls = tuple(sent(f"c_{at}") for at in range(draw(st.integers(0, 2))))
    removes = tuple(draw(st.lists(numbers, max_size=3, unique=True)))
    number = draw(st.one_of(st.none(), numbers))
    settled = None if number is None else settles(number, head=draw(numbers)).effects
    return Effects(calls, None if settled is None else settled.settles, removes, marks, ends)


@st.composite
def histories(draw: st.DrawFn) -> list[CommitRecord]:
    """Draw records of both objects with effects on each other."""
    count = draw(st.integers(1, 8))
    keys = draw(st.lists(st.sampled_from([SENDER, RECEIVER]), min_size=count, max_size=count))
    return [replace(effects(key, SHARD), effects=_effects(draw, range(1, count + 1))) for key in keys]


@pytest.mark.requirement("WAL-2")
@given(histories(), st.integers(0, 8), st.sampled_from([1, 300, 1 << 20]))
async def test_a_snapshot_and_the_log_after_it_equal_the_log(
    tmp_path_factory: pytest.TempPathFactory, history: list[CommitRecord], cut: int, run_bytes_max: int
) -> None:
    table, log = Table(), list[bytes]()
    for record in history:
        _, pieces = table.stage([record], len(log) + 1, NOW_MS)
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
