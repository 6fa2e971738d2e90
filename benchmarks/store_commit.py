"""Commit and recovery speed of the embedded store, and its cost in the event loop.

    python benchmarks/store_commit.py [--seconds 3] [--objects 1000000]

For batches of 1, 16 and 64 records, it prints records per second, microseconds of CPU time per record in the loop's
thread, and the share of the time spent in durable writes. Then it prints resident bytes per object and per stored
reply, and records per second of a recovery from the log and from a snapshot.
"""

from __future__ import annotations

import argparse
import gc
import resource
import shutil
import tempfile
import time
from pathlib import Path

import uvloop

from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse_node.stores.wal.store import WalStore

STATE = b'{"value":12345678}'
REPLY = b"12345678"
FINGERPRINT = b"f" * 16


def batches(size: int, objects: int, count: int) -> list[list[CommitRecord]]:
    """Prepare batches of increments over ``objects`` objects, each with a reply to store."""
    now_ms = time.time_ns() // 1_000_000
    versions = [0] * objects
    made: list[list[CommitRecord]] = []
    number = 0
    for _ in range(count):
        batch: list[CommitRecord] = []
        for _ in range(size):
            at = number % objects
            key = ObjectKey("default", "Counter", f"counter-{at}")
            reply = StoredReply(FINGERPRINT, REPLY, now_ms + 3_600_000)
            batch.append(
                CommitRecord(key, versions[at], versions[at] + 1, STATE, 1, now_ms, f"key-{number:016d}", reply)
            )
            versions[at] += 1
            number += 1
        made.append(batch)
    return made


async def commit_for(seconds: float, size: int, directory: Path) -> None:
    """Measure commits in batches of ``size`` and print the result."""
    store = WalStore(directory, snapshot_bytes=0)
    await store.open()
    done = 0
    elapsed = busy = 0.0
    work = batches(size, 1_000, max(64, round(seconds * 300_000 / size / (1 + 30 / size))))
    gc.collect()
    started, cpu = time.perf_counter(), time.thread_time()
    for batch in work:
        await store.commit(batch)
        done += size
        if time.perf_counter() - started > seconds:
            break
    elapsed, busy = time.perf_counter() - started, time.thread_time() - cpu
    stats = store.stats()
    await store.close()
    print(
        f"batch {size:3d}: {done / elapsed:9,.0f} records/s  {busy / done * 1e6:6.2f} µs/record on the loop  "
        f"{busy / stats.commits * 1e6:6.1f} µs/batch on the loop  "
        f"{stats.sync_seconds / stats.commits * 1e6:5.0f} µs/durable write  "
        f"durable share {stats.sync_seconds / elapsed:4.0%}  {stats.bytes_written / done:5.1f} B/record"
    )


def resident() -> int:
    """Return the resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def fill(objects: int, directory: Path) -> None:
    """Measure memory and recovery with many objects and print the results."""
    now_ms = time.time_ns() // 1_000_000
    store = WalStore(directory, snapshot_bytes=0)
    await store.open()
    gc.collect()
    empty = resident()
    for first in range(0, objects, 500):
        keys = (ObjectKey("default", "Counter", f"counter-{n}") for n in range(first, first + 500))
        await store.commit([CommitRecord(key, 0, 1, STATE, 1, now_ms) for key in keys])
    full = resident()
    for first in range(0, objects, 500):
        names = ((n, ObjectKey("default", "Counter", f"counter-{n}")) for n in range(first, first + 500))
        await store.commit(
            [
                CommitRecord(
                    key,
                    1,
                    1,
                    None,
                    1,
                    now_ms,
                    f"key-{n:016d}",
                    StoredReply(FINGERPRINT, REPLY, now_ms + 3_600_000),
                )
                for n, key in names
            ]
        )
    replies = resident()
    print(
        f"{objects:,} objects: {(full - empty) / objects:.0f} B/object, {(replies - full) / objects:.0f} B/kept reply"
    )
    await store.close()
    await recover(directory, "the log")
    store = WalStore(directory, snapshot_bytes=0)
    await store.open()
    started = time.perf_counter()
    entry = await store.snapshot()
    print(f"snapshot: {time.perf_counter() - started:.1f} s, {entry.size / 1e6:.0f} MB")
    await store.close()
    await recover(directory, "the snapshot")


async def recover(directory: Path, source: str) -> None:
    """Measure a recovery and print the result."""
    store = WalStore(directory, snapshot_bytes=0)
    started = time.perf_counter()
    await store.open()
    elapsed = time.perf_counter() - started
    count = store.stats().recovered_records
    print(f"recovery from {source}: {count:,} records in {elapsed:.2f} s, {count / elapsed:,.0f} records/s")
    await store.close()


def main() -> None:
    """Run all measurements in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--objects", type=int, default=300_000)
    parser.add_argument(
        "--directory", type=Path, default=None, help="folder for the data (default: a temporary folder)"
    )
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="goverse-bench-", dir=options.directory))
    try:
        for size in (1, 16, 64):
            uvloop.run(commit_for(options.seconds, size, root / f"batch-{size}"))
        uvloop.run(fill(options.objects, root / "many"))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
