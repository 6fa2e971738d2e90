"""Snapshots and trims of a running store: fast starts, damaged snapshots, and retention."""

import asyncio
import logging
import os
import signal
from pathlib import Path

import pytest

from goverse.errors import DataDamaged, DataNewer, Unavailable
from goverse.ports.clock import ManualClock
from goverse_node.stores.encoding import decode
from goverse_node.stores.wal.admin import snapshot, trim, verify
from goverse_node.stores.wal.files import RealFiles
from goverse_node.stores.wal.snapshot import SnapshotReader
from goverse_node.stores.wal.upkeep import SEGMENTS_MAX
from tests.integration.stores.samples import (
    NOW_MS,
    call,
    call_many,
    calls_seen,
    committed,
    delete,
    filled,
    fixed_origin,
    key,
    opened,
    put,
    segments_of,
    snapshots_of,
    until,
    wal_store,
)

DAY_S = 24 * 3600.0


def leftovers(directory: Path) -> list[Path]:
    """Return temporary files that were not completed."""
    return list(directory.rglob("*.tmp"))


def damage(path: Path, at: int) -> None:
    """Flip a bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


@pytest.mark.requirement("WAL-2")
async def test_a_start_uses_the_snapshot_and_the_tail_behind_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await call_many(store, range(200), batch=10)
        entry = await store.snapshot()
        assert (entry.seq, entry.objects, entry.replies) == (200, 3, 200)
        await call_many(store, range(200, 210))
        await store.trim()
        assert store.stats().segments == 1
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 210
        assert store.health().commit_seq == 210
        assert store.stats().recovered_records == 203 + 10


@pytest.mark.requirement("WAL-2")
async def test_writes_go_on_while_a_snapshot_is_made(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await call_many(store, range(300), batch=30)
        making = asyncio.create_task(store.snapshot())
        written = 300
        while not making.done():
            await call_many(store, range(written, written + 1))
            written += 1
        entry = await making
        assert 300 <= entry.seq <= written
        assert written > 310, "the log is not held up"
    async with opened(tmp_path) as store:
        assert calls_seen(store) == written


@pytest.mark.requirement("WAL-2")
async def test_a_snapshot_starts_automatically_after_enough_log(tmp_path: Path) -> None:
    async with opened(tmp_path, snapshot_bytes=20_000) as store:
        await call_many(store, range(400), batch=20)
        await until(lambda: store.stats().snapshots_made >= 1)
        assert store.stats().log_bytes < 400 * 200
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 400


@pytest.mark.requirement("WAL-2")
async def test_many_small_segments_start_a_snapshot(tmp_path: Path) -> None:
    await filled(tmp_path, 3 * SEGMENTS_MAX, segment_bytes=4_200)
    assert len(segments_of(tmp_path)) > SEGMENTS_MAX
    async with opened(tmp_path, snapshot_bytes=1 << 30, snapshots_kept=1) as store:
        await until(lambda: store.stats().snapshots_made == 1 and store.stats().segments == 1)
        assert calls_seen(store) == 3 * SEGMENTS_MAX


@pytest.mark.requirement("WAL-2")
async def test_two_snapshots_and_the_log_between_them_are_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for n in range(5):
            await call_many(store, range(10 * n, 10 * n + 10))
            await store.snapshot()
        assert [int(path.stem) for path in snapshots_of(tmp_path)] == [40, 50]
        assert [int(path.stem) for path in segments_of(tmp_path)] == [41, 51]


@pytest.mark.requirement("WAL-2")
async def test_a_snapshot_without_new_commits_is_the_existing_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await call_many(store, range(5))
        first = await store.snapshot()
        assert await store.snapshot() == first
        assert store.stats().snapshots == 1


@pytest.mark.requirement("WAL-2")
async def test_a_damaged_newest_snapshot_is_replaced_by_the_older_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as store:
        for n in range(3):
            await call_many(store, range(10 * n, 10 * n + 10))
            await store.snapshot()
    damage(snapshots_of(tmp_path)[-1], 200)
    with caplog.at_level(logging.WARNING, "goverse.store.wal"):
        async with opened(tmp_path) as store:
            assert calls_seen(store) == 30
            assert "trying the previous one" in caplog.text
            await call_many(store, range(30, 33))
            entry = await store.snapshot()
            assert entry.seq == 33
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 33
    assert verify(tmp_path).problems == [], "the damaged one does not count any more"


@pytest.mark.requirement("WAL-2")
async def test_the_damaged_snapshot_is_not_one_of_those_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for n in range(2):
            await call_many(store, range(10 * n, 10 * n + 10))
            await store.snapshot()
        damage(snapshots_of(tmp_path)[-1], 200)
        await call_many(store, range(20, 30))
        await store.snapshot()
        assert [int(path.stem) for path in snapshots_of(tmp_path)] == [10, 30]
    damage(snapshots_of(tmp_path)[-1], 200)
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 30


@pytest.mark.requirement("WAL-2")
async def test_when_every_snapshot_is_damaged_the_start_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for n in range(3):
            await call_many(store, range(10 * n, 10 * n + 10))
            await store.snapshot()
    for path in snapshots_of(tmp_path):
        damage(path, 200)
    store = wal_store(tmp_path)
    with pytest.raises(DataDamaged, match=snapshots_of(tmp_path)[-1].name):
        await store.open()


@pytest.mark.requirement("WAL-2")
async def test_a_missing_snapshot_is_refused_by_name(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await call_many(store, range(10))
        await store.snapshot()
    missing = snapshots_of(tmp_path)[0]
    missing.unlink()
    store = wal_store(tmp_path)
    with pytest.raises(DataDamaged, match=missing.name):
        await store.open()


@pytest.mark.requirement("WAL-2")
async def test_a_trim_refuses_to_rely_on_a_damaged_snapshot(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for n in range(2):
            await call_many(store, range(10 * n, 10 * n + 10))
            await store.snapshot()
        damage(snapshots_of(tmp_path)[-1], 200)
        with pytest.raises(Unavailable, match="damaged at offset"):
            await store.trim()
        assert len(snapshots_of(tmp_path)) == 2
    with pytest.raises(DataDamaged):
        trim(tmp_path)
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 20


@pytest.mark.requirement("WAL-4")
async def test_newer_snapshots_and_segments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        later.setattr("goverse_node.stores.wal.segment.FORMAT", 3)
        await filled(tmp_path / "segment", 5)
    later_segment = wal_store(tmp_path / "segment")
    with pytest.raises(DataNewer, match=r"\.wal has format 3 at offset 0"):
        await later_segment.open()

    await filled(tmp_path / "snapshot", 5)
    with monkeypatch.context() as later:
        later.setattr("goverse_node.stores.wal.snapshot.FORMAT", 3)
        snapshot(tmp_path / "snapshot", now_ms=NOW_MS)
    later_snapshot = wal_store(tmp_path / "snapshot")
    with pytest.raises(DataNewer, match=r"\.snap has format 3 at offset 0"):
        await later_snapshot.open()
    assert len(snapshots_of(tmp_path / "snapshot")) == 1, "what is newer is not thrown away"


@pytest.mark.requirement("WAL-2")
async def test_a_compactor_that_is_killed_is_harmless(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await call_many(store, range(2_000), batch=100)
        making = asyncio.create_task(store.snapshot())
        await until(lambda: store.compactor_pid is not None)
        pid = store.compactor_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match="snapshot process failed"):
            await making
        assert store.stats().snapshots_failed == 1
        assert store.health().ready
        await call_many(store, range(2_000, 2_010))
        entry = await store.snapshot()
        assert entry.seq == 2_010
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 2_010
    assert leftovers(tmp_path) == []


@pytest.mark.requirement("WAL-2")
async def test_closing_does_not_wait_for_a_snapshot(tmp_path: Path) -> None:
    store = wal_store(tmp_path)
    await store.open()
    await call_many(store, range(2_000), batch=100)
    making = asyncio.create_task(store.snapshot())
    await until(lambda: store.compactor_pid is not None)
    await store.close()
    with pytest.raises(Unavailable):
        await making
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 2_000


@pytest.mark.requirement("WAL-2")
async def test_leftovers_of_a_crash_between_snapshot_and_manifest_are_removed(tmp_path: Path) -> None:
    await filled(tmp_path, 10)
    stray = tmp_path / "snapshots" / f"{10:020d}.snap"
    stray.write_bytes(b"half a snapshot")
    (tmp_path / "snapshots" / "run-0.tmp").write_bytes(b"half a run")
    (tmp_path / "wal" / f"{11:020d}.wal").touch()
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 10
    assert not stray.exists()
    assert leftovers(tmp_path) == []


@pytest.mark.requirement("DUR-2", "WAL-2")
async def test_replies_survive_a_snapshot_until_they_expire(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path, clock=clock) as store:
        await committed(store, [call("c", 0, "short", lives_s=60), call("c", 1, "long", lives_s=7200)])
        before = store.recall(key("c"), "long")
        clock.advance(3600)
        entry = await store.snapshot()
        await store.trim()
        assert entry.replies == 1
    async with opened(tmp_path, clock=clock) as store:
        assert store.recall(key("c"), "short") is None
        assert store.recall(key("c"), "long") == before
        clock.advance(3601)
        assert store.recall(key("c"), "long") is None
        assert (await store.snapshot()).replies == 1, "nothing was written, so the snapshot is the same one"
        await committed(store, [put("d", 0)])
        assert (await store.snapshot()).replies == 0


@pytest.mark.requirement("WAL-2")
async def test_a_forgotten_object_never_gets_an_older_version(tmp_path: Path) -> None:
    clock = ManualClock()
    options = {"clock": clock, "tombstone_retention_s": 7 * DAY_S}
    async with opened(tmp_path, **options) as store:
        await committed(store, [put("c", 0), put("c", 1), delete("c", 2), put("alive", 0)])
        clock.advance(6 * DAY_S)
        assert (await store.snapshot()).objects == 2, "within its retention the tombstone stays"
        clock.advance(2 * DAY_S)
        await committed(store, [put("alive", 1, at_ms=clock.wall_ms())])
        assert (await store.snapshot()).objects == 1
        await store.trim()
    async with opened(tmp_path, **options) as store:
        for object_id in ("c", "never-seen"):
            found = store.load(key(object_id))
            assert found is not None
            assert (found.version, found.state) == (3, None)
        assert store.load(key("c", "OtherType")) is None
        await committed(store, [put("c", 3, at_ms=clock.wall_ms())])
        await store.snapshot()
        await store.trim()
    async with opened(tmp_path, **options) as store:
        found = store.load(key("c"))
        assert found is not None
        assert found.version == 4
        found = store.load(key("never-seen"))
        assert found is not None
        assert found.version == 3, "the floor outlives further snapshots"


@pytest.mark.requirement("WAL-2")
async def test_a_snapshot_on_demand_covers_commits_made_during_another_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await call_many(store, range(500), batch=50)
        first = asyncio.create_task(store.snapshot())
        await until(lambda: store.compactor_pid is not None)
        await call_many(store, range(500, 510))
        second = await store.snapshot()
        assert (await first).seq < second.seq == 510


@pytest.mark.requirement("WAL-2")
async def test_a_snapshot_file_is_sorted_and_complete(tmp_path: Path) -> None:
    async with opened(tmp_path, make_origin=fixed_origin) as store:
        await committed(store, [put(one, 0) for one in ("b", "a", "c/d", "ä")])
        entry = await store.snapshot()
    (path,) = snapshots_of(tmp_path)
    bodies = SnapshotReader(path, fixed_origin(), entry).bodies(RealFiles())
    assert [decode(body).id for body in bodies] == ["a", "b", "c/d", "ä"]
    assert path.stat().st_size == entry.size
