"""Reliable calls in the log: snapshots, torn writes, restores, dumps, and releases from before them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from goverse.errors import DataNewer
from goverse.model.call_retention import CallRetention
from goverse.model.effects import CallState, Effects, FinishedCall, Mark, PendingCall
from goverse.model.receipts import NO_RECEIPT, Receipt, number_of
from goverse.ports.clock import ManualClock
from goverse.ports.outbox import CallFilter
from goverse.testing.outbox_harness import (
    RECEIVER,
    SENDER,
    effects,
    ended,
    keeps,
    receipt,
    sends,
    sent,
    settlement,
    settles,
    settles_of,
)
from goverse.testing.store_harness import put
from goverse_node.stores.encoding import COMMIT, EFFECTS, FLOOR, RECEIPT
from goverse_node.stores.wal.admin import verify
from goverse_node.stores.wal.compact import whole_snapshot
from goverse_node.stores.wal.diff import diff
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.dump import dump
from goverse_node.stores.wal.files import RealFiles
from goverse_node.stores.wal.load import load
from goverse_node.stores.wal.log import Log
from goverse_node.stores.wal.restore import restore
from goverse_node.stores.wal.store import WalStore
from tests.integration.stores.samples import NOW_MS, committed, files_of, opened, segments_of, write_files

SHARD = 5
STATES: Sequence[CallState] = get_args(CallState)
Contents = tuple[Sequence[PendingCall], Sequence[FinishedCall], Sequence[Receipt]]


async def contents(store: WalStore) -> Contents:
    """Return everything that a store keeps of reliable calls between two objects."""
    pairs = [(one, other) for one in (SENDER, RECEIVER) for other in (SENDER, RECEIVER)]
    receipts = [await receipt(store, *pair) for pair in pairs]
    return await store.pending([SHARD], limit=999), await store.finished(CallFilter(), limit=999), receipts


async def exchange(store: WalStore) -> None:
    """Commit one record with each effect, and some that end again."""
    first, second = await committed(store, [sends(sent("c_1"), sent("c_2")), replace(put(SENDER, 0), shard=SHARD)])
    assert second == first + 1
    one, two = number_of(first, 0), number_of(first, 1)
    await committed(store, [settles(one), settles(two, prev=one, head=one, outcome=b"two")])
    done = Effects(removes=(one,), marks=(Mark(two, 3, "cancelled"),), finished=(ended(), ended(sent("c_9"))))
    await committed(store, [replace(put(SENDER, 1, b"after"), effects=done)])


def kinds_of(directory: Path) -> set[int]:
    """Return the types of the records in the log and in the newest snapshot."""
    found, files = DataDirectory(directory), RealFiles()
    manifest = found.read_manifest()
    kinds = {body[0] for body in Log(found, manifest, files).records(manifest.segments[0] - 1)}
    base = whole_snapshot(found, manifest, 1 << 40, files)
    return kinds | {body[0] for body in base.bodies(files)} if base is not None else kinds


@pytest.mark.requirement("DUR-5", "WAL-2")
async def test_a_snapshot_has_the_same_calls_as_the_log(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as store:
        await exchange(store)
        before = await contents(store)
    async with opened(tmp_path / "a") as store:
        assert await contents(store) == before
        await store.snapshot()
        await exchange_more(store)
        before = await contents(store)
        await store.snapshot()
        await store.trim()
    async with opened(tmp_path / "a") as store:
        assert await contents(store) == before
    assert verify(tmp_path / "a").problems == []


async def exchange_more(store: WalStore) -> None:
    """End the call that ``exchange`` leaves pending, and send another."""
    (left,) = await store.pending([SHARD], limit=9)
    await committed(store, [effects(removes=(left.number,)), sends(sent("c_3"))])
    assert await store.forget_finished(CallFilter(), limit=1) == 1


@pytest.mark.requirement("WAL-2")
async def test_a_finished_one_way_call_leaves_nothing_but_its_receipt(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as store:
        for _ in range(3):
            (seq,) = await committed(store, [sends(sent())])
            number = number_of(seq, 0)
            await committed(store, [settles(number)])
            await committed(store, [effects(removes=(number,), marks=(Mark(number, 1),))])
        await store.snapshot()
        await store.trim()
    lines = list(dump(tmp_path / "a", replies=True, tombstones=True, floors=True, calls=True))
    assert len(lines) == 1
    assert '"receipt"' in lines[0]


@pytest.mark.requirement("WAL-2")
async def test_a_snapshot_does_without_the_receipts_that_no_delivery_needs(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as store:
        (first,) = await committed(store, [sends(sent())])
        done = number_of(first, 0)
        await committed(store, [settles(done), effects(removes=(done,))])
        (second,) = await committed(store, [sends(sent(), key=RECEIVER)])
        waiting = number_of(second, 0)
        await committed(store, [settles_of(RECEIVER, SENDER, waiting, outcome=b"kept")])
        await store.snapshot()
        for _ in range(2):
            await store.forget_receipts()
        await committed(store, [effects(RECEIVER, removes=(waiting,))])
        await store.snapshot()
    restore(tmp_path / "a", tmp_path / "before", to_seq=second + 1)
    async with opened(tmp_path / "a") as store:
        assert await contents(store) == ([], [], [NO_RECEIPT, Receipt(waiting, {waiting: b"kept"}), *[NO_RECEIPT] * 2])
    async with opened(tmp_path / "before") as store:
        pending, _, receipts = await contents(store)
        assert [call.number for call in pending] == [waiting]
        assert receipts[1].last == waiting, "the pending call would run a second time"


@pytest.mark.requirement("WAL-2")
async def test_a_shorter_retention_removes_ends_from_memory_and_from_the_next_snapshot(tmp_path: Path) -> None:
    ends = [ended(sent(f"{state}-{at}"), state=state, finished_ms=NOW_MS + at) for state in STATES for at in (0, 5_000)]
    async with opened(tmp_path, clock=ManualClock(wall_ms=NOW_MS)) as store:
        for end in ends:
            await committed(store, [keeps(end)])
    short = CallRetention(failed_s=5, expired_s=5, cancelled_s=5, dead_s=5)
    async with opened(tmp_path, clock=ManualClock(wall_ms=NOW_MS + 7_000), call_retention=short) as store:
        left = {end.call.id for end in await store.finished(CallFilter(), limit=99)}
        assert left == {"success-0", *(f"{state}-5000" for state in STATES)}
        await store.snapshot()
    names = [json.loads(line).get("call", {}).get("id") for line in dump(tmp_path, calls=True)]
    assert sorted(filter(None, names)) == sorted(left)
    async with opened(tmp_path, clock=ManualClock(wall_ms=NOW_MS + 8_000)) as store:
        assert {end.call.id for end in await store.finished(CallFilter(), limit=99)} == left


@pytest.mark.requirement("WAL-4")
async def test_a_store_without_calls_has_no_new_type_of_record(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as store:
        await committed(store, [put(SENDER, 0), put(RECEIVER, 0)])
        await store.snapshot()
        await committed(store, [put(SENDER, 1)])
    assert kinds_of(tmp_path / "a") == {COMMIT}


@pytest.mark.requirement("WAL-4")
async def test_a_release_from_before_calls_refuses_them_as_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "a") as store:
        await exchange(store)
    assert EFFECTS in kinds_of(tmp_path / "a")
    # the largest types that such a release knows
    monkeypatch.setattr("goverse_node.stores.wal.log._KNOWN", frozenset({COMMIT}))
    monkeypatch.setattr("goverse_node.stores.wal.snapshot.FINISHED", FLOOR)
    with pytest.raises(DataNewer, match=r"0001\.wal has format 3"):
        async with opened(tmp_path / "a"):
            pass
    monkeypatch.undo()
    async with opened(tmp_path / "a") as store:
        await store.snapshot()
        await store.trim()
    assert RECEIPT in kinds_of(tmp_path / "a")
    monkeypatch.setattr("goverse_node.stores.wal.snapshot.FINISHED", FLOOR)
    with pytest.raises(DataNewer, match=r"\.snap has format 8"):
        async with opened(tmp_path / "a"):
            pass


@pytest.mark.requirement("DUR-1", "WAL-1")
async def test_a_torn_record_with_effects_has_none_of_them(tmp_path: Path) -> None:
    everything = Effects((sent("c_2"),), settlement(7), (), (), (ended(),))
    async with opened(tmp_path / "a") as store:
        await committed(store, [sends(sent("c_1"))])
        before = await contents(store)
        mark = segments_of(tmp_path / "a")[-1].read_bytes()[:4096]
        await committed(store, [replace(put(SENDER, 0), shard=SHARD, effects=everything)])
        after = await contents(store)
        files = files_of(tmp_path / "a")
    name = next(name for name in files if name.endswith(".wal"))
    data = files[name].rstrip(b"\0")
    end = len(data)
    for cut in (end, end - 1, end - 60, end - 300, end - 700):
        # the mark of before the record: it was written, but not acknowledged
        torn = mark + data[4096:cut]
        place = write_files(tmp_path / str(cut), {**files, name: torn})
        async with opened(place) as store:
            assert await contents(store) == (after if cut == end else before)
            assert (store.load(SENDER) is None) == (cut != end)


@pytest.mark.requirement("WAL-3")
async def test_a_restore_has_the_calls_of_its_point_in_time_and_new_numbers(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as store:
        (seq,) = await committed(store, [sends(sent("c_1"))])
        await committed(store, [settles(number_of(seq, 0))])
        point, then = store.health().commit_seq, await contents(store)
        await exchange(store)
        await store.snapshot()
        newest = store.health().commit_seq
    restore(tmp_path / "a", tmp_path / "b", to_seq=point)
    async with opened(tmp_path / "b") as store:
        assert await contents(store) == then
        (later,) = await committed(store, [sends(sent("c_2"))])
        assert later > newest


@pytest.mark.requirement("WAL-3")
async def test_a_dump_is_loaded_with_its_calls(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as store:
        await exchange(store)
        before = await contents(store)
        last = store.health().commit_seq
    lines = list(dump(tmp_path / "a", replies=True, tombstones=True, floors=True, calls=True))
    loaded = load(lambda _: (line.encode() for line in lines), tmp_path / "b", now_ms=NOW_MS)
    assert loaded.contents.calls == 4
    async with opened(tmp_path / "b") as store:
        assert await contents(store) == before
        assert (await committed(store, [sends(sent())]))[0] >= last
    assert list(dump(tmp_path / "a", calls=False)) == [line for line in lines if '"state_version"' in line]
    assert list(diff(tmp_path / "a", tmp_path / "b", replies=True)) == []
