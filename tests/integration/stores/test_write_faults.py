"""Failing disks: acknowledged calls survive, failed ones have no effect, and unknown outcomes are not acknowledged."""

import asyncio
import contextlib
import errno
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from goverse.errors import StoreFailed, Unavailable
from goverse_node.stores.wal.log_writer import CLAIM_BYTES_MAX
from goverse_node.stores.wal.store import WalStore
from tests.integration.stores.disk import FaultyFiles
from tests.integration.stores.samples import (
    call,
    call_many,
    calls_seen,
    committed,
    opened,
    put,
    segments_of,
    until,
    wal_store,
)


@pytest.mark.requirement("WAL-1", "DUR-1")
@pytest.mark.parametrize("operation", ["write_durably", "write"])
async def test_a_failed_write_or_sync_stops_acknowledging_until_a_restart(tmp_path: Path, operation: str) -> None:
    files = FaultyFiles()
    store = wal_store(tmp_path, files=files)
    await store.open()
    await call_many(store, range(5))
    files.fail(errno.EIO, operation, name=".wal", times=1)
    with pytest.raises(StoreFailed, match=r"\.wal failed at offset"):
        await committed(store, [call("c2", 1, "k5")])
    files.heal()

    with pytest.raises(StoreFailed):
        await committed(store, [put("other", 0)])
    health = store.health()
    assert not health.ready
    assert "restart" in health.reason
    assert calls_seen(store) == 5, "reads go on, and see what was acknowledged"
    with pytest.raises(StoreFailed):
        await store.snapshot()
    await store.close()

    async with opened(tmp_path) as store:
        seen = calls_seen(store)
        assert seen in {5, 6}
        await call_many(store, range(seen, 9))
        assert calls_seen(store) == 9


@pytest.mark.requirement("WAL-1")
async def test_a_failed_sync_of_space_claimed_ahead_stops_acknowledging(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = wal_store(tmp_path, files=files)
    await store.open()
    files.fail(errno.EIO, "sync", name=".wal", times=1)
    with pytest.raises(StoreFailed):
        await call_many(store, range(1))
    with pytest.raises(StoreFailed):
        await call_many(store, range(1))
    await store.close()


@pytest.mark.requirement("WAL-1")
@pytest.mark.parametrize("half_written", [0, 1, 60, 200, 100_000])
async def test_a_full_disk_refuses_the_batch_and_nothing_of_it_remains(tmp_path: Path, half_written: int) -> None:
    files = FaultyFiles()
    store = wal_store(tmp_path, files=files)
    await store.open()
    await call_many(store, range(6), batch=3)
    files.half_written = half_written
    files.fail(errno.ENOSPC, "write_durably")
    for _ in range(3):
        with pytest.raises(Unavailable, match="disk is full"):
            await committed(store, [call("c0", 2, "k6"), call("c1", 2, "k7"), call("c2", 2, "k8")])
        assert not store.health().ready
        assert "disk is full" in store.health().reason
        assert calls_seen(store) == 6
    files.heal()
    await call_many(store, range(6, 7))
    assert store.health().ready
    assert store.stats().full_disk == 3
    assert store.health().commit_seq == 7
    await store.close()

    async with opened(tmp_path) as store:
        assert calls_seen(store) == 7, "nothing of the refused batches comes back"


@pytest.mark.requirement("WAL-1")
async def test_room_on_the_disk_is_noticed_without_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goverse_node.stores.wal.log_writer.ROOM_CHECK_S", 0.001)
    files = FaultyFiles()
    store = wal_store(tmp_path, files=files)
    await store.open()
    files.fail(errno.ENOSPC, "write_durably", "write", name=".wal")
    with pytest.raises(Unavailable):
        await call_many(store, range(1))
    tried = len(files.operations)
    await until(lambda: len(files.operations) > tried + 10)
    assert not store.health().ready
    files.heal()
    await until(lambda: store.health().ready)
    await call_many(store, range(3))
    await store.close()
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 3


@pytest.mark.requirement("WAL-1")
async def test_a_full_disk_that_cannot_be_cut_back_stops_acknowledging(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = wal_store(tmp_path, files=files)
    await store.open()
    await call_many(store, range(3))
    files.fault = lambda operation, path: {"write_durably": errno.ENOSPC, "truncate": errno.EIO}.get(operation)
    with pytest.raises(StoreFailed):
        await call_many(store, range(3, 4))
    files.heal()
    with pytest.raises(StoreFailed):
        await call_many(store, range(3, 4))
    await store.close()


async def test_a_write_succeeds_without_room_to_claim_ahead(tmp_path: Path) -> None:
    files = FaultyFiles()
    store = wal_store(tmp_path, files=files)
    await store.open()
    files.fail(errno.ENOSPC, "write", name=".wal", times=1)
    await call_many(store, range(3))
    assert store.health().ready
    await store.close()
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 3


async def test_a_batch_larger_than_any_claim_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        state = b'"' + b"x" * (3 * CLAIM_BYTES_MAX) + b'"'
        await committed(store, [put("big", 0, state), put("big", 1, state), put("small", 0)])
        await committed(store, [put("small", 1)])
    async with opened(tmp_path) as store:
        found = store.load(put("big", 0).key)
        assert found is not None
        assert found.state == state
        assert store.health().commit_seq == 4


@pytest.mark.requirement("WAL-1")
@pytest.mark.parametrize("operation", ["replace", "sync_directory", "open", "sync"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
async def test_a_rotation_that_fails_loses_nothing(tmp_path: Path, operation: str, error: int) -> None:
    files = FaultyFiles()
    store = wal_store(tmp_path, files=files, segment_bytes=8_000)
    await store.open()
    acknowledged = 0
    while len(segments_of(tmp_path)) == 1 and acknowledged < 20:
        await call_many(store, range(acknowledged, acknowledged + 1))
        acknowledged += 1
    files.fail(error, operation, times=2)
    try:
        for n in range(acknowledged, 90):
            await call_many(store, range(n, n + 1))
            acknowledged += 1
    except (StoreFailed, Unavailable):
        assert error == errno.EIO or operation == "sync"
    files.heal()
    await store.close()
    async with opened(tmp_path) as store:
        assert calls_seen(store) >= acknowledged


@pytest.mark.requirement("WAL-1", "DUR-1")
@pytest.mark.parametrize("step", ["the manifest's name is synced", "the new segment is opened"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EMFILE])
async def test_a_rotation_that_fails_around_the_manifest_loses_nothing(tmp_path: Path, step: str, error: int) -> None:
    files = FaultyFiles()
    store = wal_store(tmp_path, files=files)
    await store.open()
    await call_many(store, range(6))
    switched: list[bool] = []

    def fault(operation: str, path: Path) -> int | None:
        if step == "the manifest's name is synced":
            return error if (operation, path) == ("sync_directory", tmp_path) else None
        new_one = operation == "open" and path.suffix == ".wal" and path != segments_of(tmp_path)[0]
        switched.extend([True] * new_one)
        return error if new_one and len(switched) == 2 else None

    files.fault = fault
    with pytest.raises((StoreFailed, Unavailable)):
        await store.snapshot()
    files.heal()
    acknowledged = 6
    with contextlib.suppress(StoreFailed):
        await call_many(store, range(6, 9))
        acknowledged = 9
    await store.close()

    async with opened(tmp_path) as store:
        assert calls_seen(store) == acknowledged
        await call_many(store, range(acknowledged, acknowledged + 3))
        assert store.health().ready


@pytest.mark.requirement("WAL-1", "DUR-1")
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
async def test_too_many_open_files_only_prevent_the_rotation(tmp_path: Path, error: int) -> None:
    files = FaultyFiles()
    store = wal_store(tmp_path, files=files)
    await store.open()
    await call_many(store, range(3))
    files.fail(error, "open")
    with pytest.raises(Unavailable, match="open files"):
        await store.snapshot()
    await call_many(store, range(3, 6))
    assert store.health().ready
    files.heal()
    await store.snapshot()
    await call_many(store, range(6, 9))
    await store.close()
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 9


class NoMemory(FaultyFiles):
    """Files whose operations raise MemoryError on demand."""

    def check(self, operation: str, path: Path) -> None:
        if self.fault(operation, path) is not None:
            raise MemoryError


@pytest.mark.requirement("WAL-1", "DUR-1")
@pytest.mark.parametrize("operation", ["write_durably", "replace"])
async def test_an_unexpected_fault_stops_acknowledging_and_every_caller_is_answered(
    tmp_path: Path, operation: str
) -> None:
    files = NoMemory()
    store = wal_store(tmp_path, files=files)
    await store.open()
    await call_many(store, range(3))
    files.fail(errno.ENOMEM, operation, times=1)
    async with asyncio.timeout(10):
        with pytest.raises(StoreFailed, match="MemoryError"):
            await (call_many(store, range(3, 4)) if operation == "write_durably" else store.snapshot())
        with pytest.raises(StoreFailed):
            await call_many(store, range(3, 4))
        assert not store.health().ready
        await store.close()
    async with opened(tmp_path) as store:
        assert calls_seen(store) in {3, 4}


@pytest.mark.requirement("WAL-1")
async def test_a_directory_that_is_removed_under_the_store_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goverse_node.stores.wal.log_writer.PRESENCE_CHECK_S", 0.0)
    store = wal_store(tmp_path / "data")
    await store.open()
    await call_many(store, range(3))
    for path in segments_of(tmp_path / "data"):
        path.unlink()
    with pytest.raises(StoreFailed, match="was removed"):
        await call_many(store, range(3, 4))
    assert not store.health().ready
    await store.close()


def mount(*arguments: str) -> None:
    """Mount or change a file system."""
    subprocess.run(["mount", *arguments], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk))
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def fill_up(store: WalStore, first: int) -> int:
    """Call until the disk is full. Returns the number of acknowledged calls."""
    while True:
        try:
            await call_many(store, range(first, first + 50), batch=50)
        except Unavailable:
            assert "disk is full" in store.health().reason
            return first
        first += 50


@pytest.mark.system
@pytest.mark.requirement("WAL-1", "DUR-1")
async def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    async with opened(small_disk / "data") as store:
        acknowledged = await fill_up(store, 0)
        assert acknowledged > 500
        assert await fill_up(store, acknowledged) == acknowledged
        assert calls_seen(store) == acknowledged
        assert not store.health().ready

    store = wal_store(small_disk / "data")
    with pytest.raises(StoreFailed, match="No space left"):
        await store.open()
    mount("-o", "remount,size=2m", str(small_disk))
    async with opened(small_disk / "data") as store:
        assert calls_seen(store) == acknowledged
        await call_many(store, range(acknowledged, acknowledged + 50), batch=50)
        assert store.health().ready


LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from goverse.errors import Unavailable
from tests.integration.stores.samples import call_many, calls_seen, opened, wal_store

async def main(directory):
    store = wal_store(directory)
    await store.open()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    done = 0
    try:
        while True:
            await call_many(store, range(done, done + 1))
            done += 1
    except Unavailable:
        assert "disk is full" in store.health().reason
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await call_many(store, range(done, done + 10))
    assert calls_seen(store) == done + 10
    await store.close()
    async with opened(directory) as store:
        print(calls_seen(store) - done)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.system
@pytest.mark.requirement("WAL-1")
def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": ":".join(part for part in sys.path if part)},
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, "10"), ran.stderr
