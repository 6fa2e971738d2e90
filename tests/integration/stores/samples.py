"""Stores with known contents, and a check that all acknowledged calls are still there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredObject, StoredReply
from goverse.ports.clock import ManualClock
from goverse_node.stores.wal.segment import Origin
from goverse_node.stores.wal.store import WalStore

CLOCK = ManualClock()
NOW_MS = CLOCK.wall_ms()


def key(object_id: str, type_name: str = "Counter") -> ObjectKey:
    """Return the key of an object of the default namespace."""
    return ObjectKey("default", type_name, object_id)


def put(object_id: str, expected: int, state: bytes = b'{"value":1}', *, at_ms: int = NOW_MS) -> CommitRecord:
    """Return a record that writes an object."""
    return CommitRecord(key(object_id), expected, expected + 1, state, 1, at_ms)


def delete(object_id: str, expected: int, *, at_ms: int = NOW_MS) -> CommitRecord:
    """Return a record that deletes an object."""
    return CommitRecord(key(object_id), expected, expected + 1, None, 1, at_ms)


def call(
    object_id: str, expected: int, idempotency_key: str, *, at_ms: int = NOW_MS, lives_s: int = 3600
) -> CommitRecord:
    """Return a record as a call leaves it: a new state, and the reply under its key."""
    state = b'{"value":%d}' % (expected + 1)
    reply = StoredReply(b"fingerprint", b"%d" % (expected + 1), at_ms + lives_s * 1000)
    return CommitRecord(key(object_id), expected, expected + 1, state, 1, at_ms, idempotency_key, reply)


@asynccontextmanager
async def opened(directory: Path, **options: Any) -> AsyncGenerator[WalStore, None]:
    """Open a store on ``directory``, and close it at the end."""
    store = wal_store(directory, **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def wal_store(directory: Path, **options: Any) -> WalStore:
    """Return a store on ``directory`` without automatic snapshots."""
    return WalStore(directory, **{"clock": CLOCK, "snapshot_bytes": 0, **options})


async def committed(store: WalStore, batch: Sequence[CommitRecord]) -> list[int]:
    """Commit a batch without conflicts. Returns the positions."""
    outcomes = await store.commit(batch)
    assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, int)]


async def filled(directory: Path, calls: int, *, objects: int = 3, batch: int = 1, **options: Any) -> None:
    """Fill a store with ``calls`` calls in batches, and close it."""
    async with opened(directory, **options) as store:
        await call_many(store, range(calls), objects=objects, batch=batch)


async def call_many(store: WalStore, numbers: Iterable[int], *, objects: int = 3, batch: int = 1) -> None:
    """Commit the calls with these numbers; call n is the (n // objects + 1)th one of object n % objects."""
    records = [call(f"c{n % objects}", n // objects, f"k{n}") for n in numbers]
    for first in range(0, len(records), batch):
        await committed(store, records[first : first + batch])


def calls_seen(store: WalStore, *, objects: int = 3) -> int:
    """Return how many calls of :func:`call_many` the store holds; fails where they are not the first ones,
    each once.
    """
    versions = [_version(store.load(key(f"c{n}"))) for n in range(objects)]
    count = sum(versions)
    assert versions == [(count - n + objects - 1) // objects for n in range(objects)]
    for n in range(count):
        kept = store.recall(key(f"c{n % objects}"), f"k{n}")
        assert kept is not None
        assert kept.reply == b"%d" % (n // objects + 1)
    assert store.recall(key(f"c{count % objects}"), f"k{count}") is None
    return count


def _version(found: StoredObject | None) -> int:
    if found is None:
        return 0
    assert found.state == b'{"value":%d}' % found.version
    return found.version


def fixed_origin(store: str = "a", generation: str = "1") -> Origin:
    """Return an identity that is the same in every run."""
    return Origin(store * 32, generation * 16)


async def until(condition: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process or thread
            await asyncio.sleep(0.005)


def files_of(directory: Path) -> dict[str, bytes]:
    """Return the contents of the manifest, the segments and the snapshots of a data directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix in {".wal", ".snap", ".json"}
    }


def write_files(directory: Path, content: dict[str, bytes]) -> Path:
    """Create a data directory from these files."""
    for name, data in content.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def segments_of(directory: Path) -> list[Path]:
    """Return the segments, oldest first."""
    return sorted((directory / "wal").glob("*.wal"))


def snapshots_of(directory: Path) -> list[Path]:
    """Return the snapshots, oldest first."""
    return sorted((directory / "snapshots").glob("*.snap"))
