"""The change feed over segments, trims and restores."""

import asyncio
from pathlib import Path

import pytest

from goverse.errors import CursorExpired, DataDamaged
from goverse.model.records import Change
from goverse_node.stores.wal.restore import restore
from goverse_node.stores.wal.store import WalStore
from tests.integration.stores.samples import (
    NOW_MS,
    call_many,
    committed,
    delete,
    key,
    opened,
    put,
    segments_of,
)


async def everything(store: WalStore, after: int = 0, *, limit: int = 7) -> list[Change]:
    """Follow the feed to its end."""
    seen: list[Change] = []
    while changes := await store.changes(after, limit):
        seen += changes
        after = changes[-1].commit_seq
    return seen


@pytest.mark.requirement("WAL-1")
async def test_the_feed_is_read_across_segments_and_restarts(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=6_000) as store:
        await call_many(store, range(150), batch=4)
    async with opened(tmp_path) as store:
        await committed(store, [delete("c0", 50)])
        changes = await everything(store)
    assert [change.commit_seq for change in changes] == list(range(1, 152))
    assert changes[5] == Change(6, key("c2"), 2, b'{"value":2}', NOW_MS, 1, 1, 3)
    assert changes[-1] == Change(151, key("c0"), 51, None, NOW_MS, 1, 1, 148)


async def test_records_that_keep_only_a_reply_are_no_changes(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await committed(store, [put("c", 0)])
        for first in range(0, 3_000, 100):
            replies = [put("c", 1) for _ in range(100)]
            for n, record in enumerate(replies):
                record.version = 1
                record.at_ms = first + n
            await committed(store, replies)
        await committed(store, [put("c", 1)])
        assert [change.commit_seq for change in await store.changes(0, 10)] == [1, 3_002]
        assert [change.commit_seq for change in await store.changes(1, 10)] == [3_002]


async def test_readers_and_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    async with opened(tmp_path, segment_bytes=20_000) as store:

        async def follow() -> list[int]:
            seen: list[int] = []
            while len(seen) < 600:
                seen += [change.commit_seq for change in await store.changes(seen[-1] if seen else 0, 50)]
                await asyncio.sleep(0)
            return seen

        followers = [asyncio.create_task(follow()) for _ in range(3)]
        for first in range(0, 600, 20):
            await call_many(store, range(first, first + 20), batch=5)
        async with asyncio.timeout(60):
            for follower in followers:
                assert await follower == list(range(1, 601))


@pytest.mark.requirement("WAL-2")
async def test_a_cursor_before_the_log_gets_the_first_valid_position(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await call_many(store, range(30))
        await store.snapshot()
        await call_many(store, range(30, 40))
        await store.trim()
        with pytest.raises(CursorExpired) as expired:
            await store.changes(12, 10)
        oldest = int(expired.value.extra["oldest"])
        assert oldest == 30
        assert [change.commit_seq for change in await everything(store, oldest)] == list(range(31, 41))
        assert list(await store.changes(40, 10)) == []


@pytest.mark.requirement("WAL-3")
async def test_a_restored_store_is_another_generation(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as store:
        await call_many(store, range(9))
        generation = store.generation
    restore(tmp_path / "a", tmp_path / "b", to_seq=6)
    restore(tmp_path / "a", tmp_path / "c", to_seq=6)
    async with opened(tmp_path / "b") as one, opened(tmp_path / "c") as other:
        assert len({generation, one.generation, other.generation}) == 3
        with pytest.raises(CursorExpired):
            await one.changes(6, 10)
        assert (await committed(one, [put("new", 0)]))[0] == 10


async def test_damage_in_the_log_is_not_skipped(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await call_many(store, range(9))
        path = segments_of(tmp_path)[0]
        with path.open("r+b") as file:
            file.seek(4096 + 400)
            file.write(b"\xff\xff\xff")
        with pytest.raises(DataDamaged, match=path.name):
            await everything(store)
