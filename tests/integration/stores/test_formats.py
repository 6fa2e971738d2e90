"""Data directories of earlier releases are opened and continued.

Records of format 1 have neither links nor causes. The directory of format 2 was written before reliable calls.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from goverse.model.effects import Mark
from goverse.model.receipts import Receipt, number_of
from goverse.ports.outbox import CallFilter
from goverse.testing.outbox_harness import effects, ended, receipt, sends, sent, settles_of
from goverse_node.stores.wal.admin import verify
from tests.integration.stores.samples import call, committed, key, opened, put

SAMPLE = Path(__file__).with_name("format-1")
BEFORE_CALLS = Path(__file__).with_name("format-2")


@pytest.mark.requirement("WAL-4")
async def test_a_directory_of_format_1_is_read_and_continued(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(SAMPLE, directory)
    assert verify(directory).problems == []
    async with opened(directory) as store:
        old = await store.changes(4, 100)
        assert [(change.key.id, change.version) for change in old] == [("c1", 3), ("c0", 3), ("c1", 4)]
        assert {(change.previous_seq, change.anchor_seq, change.generation, change.cause) for change in old} == {
            (0, 0, 1, None)
        }
        (seq,) = await committed(store, [call("c0", 3, "k-new")])
        newest = await store.change(key("c0"), seq)
        assert newest is not None
        assert (newest.version, newest.previous_seq, newest.generation) == (4, old[1].commit_seq, 1)
        kept = store.recall(key("c1"), "k1")
        assert kept is not None
        assert kept.reply == b"1"
        await store.snapshot()
    async with opened(directory) as store:
        assert await store.living() == {("default", "Counter"): 2}
    assert verify(directory).problems == []


@pytest.mark.requirement("WAL-4", "DUR-3")
async def test_a_directory_from_before_reliable_calls_goes_on_with_them(tmp_path: Path) -> None:
    directory, sender, receiver = tmp_path / "data", key("c0"), key("gone")
    shutil.copytree(BEFORE_CALLS, directory)
    assert verify(directory).problems == []
    async with opened(directory) as store:
        assert (await store.pending([0], limit=9), await receipt(store, receiver, sender)) == ([], Receipt())
        (seq,) = await committed(store, [sends(sent("c_1", receiver=receiver), sent("c_2"), key=sender, shard=0)])
        assert seq == 8
        first, second = number_of(seq, 0), number_of(seq, 1)
        await committed(store, [settles_of(sender, receiver, first), put("gone", 2)])
        marks, ends = (Mark(second, 1, "cancelled"),), (ended(sender=sender),)
        await committed(store, [effects(sender, 0, removes=(first,), marks=marks, finished=ends)])
        await store.snapshot()
        await store.trim()
    async with opened(directory) as store:
        [left] = await store.pending([0], limit=9)
        assert (left.number, left.sender, left.attempts, left.void) == (second, sender, 1, "cancelled")
        assert await receipt(store, receiver, sender) == Receipt(first, {first: b"done"})
        assert [end.call.id for end in await store.finished(CallFilter(), limit=9)] == ["c_1"]
        assert await store.living() == {("default", "Counter"): 3}
        kept = store.recall(key("c1"), "k3")
        assert kept is not None
        assert kept.reply == b"2"
    assert verify(directory).problems == []
