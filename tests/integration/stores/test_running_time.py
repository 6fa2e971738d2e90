"""Kept replies outlive every step of the wall clock: they expire by the time that the store runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse.ports.clock import ManualClock
from goverse.ports.store import Conflict, Store
from goverse.testing.store_harness import recall
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.wal.store import WalStore

pytestmark = pytest.mark.requirement("DUR-2")

KEY = ObjectKey("default", "Counter", "c")
DAY_MS = 86_400_000
STEPS_MS = [25 * 3_600_000, -30 * DAY_MS, 365 * DAY_MS, -DAY_MS]


def keyed(clock: ManualClock, name: str = "k") -> CommitRecord:
    at_ms = clock.wall_ms()
    return CommitRecord(KEY, 0, 0, None, 1, at_ms, name, StoredReply(b"print", b"reply", at_ms + DAY_MS))


def step(clock: ManualClock, by_ms: int) -> None:
    clock.set_wall_ms(clock.wall_ms() + by_ms)


@pytest.mark.parametrize("by_ms", STEPS_MS)
@pytest.mark.parametrize("kind", ["memory", "wal"])
async def test_a_step_of_the_wall_clock_forgets_no_key(kind: str, by_ms: int, tmp_path: Path) -> None:
    clock = ManualClock()
    store: Store = MemoryStore(clock=clock) if kind == "memory" else WalStore(tmp_path / "data", clock=clock)
    await store.open()
    await store.commit([keyed(clock)])
    step(clock, by_ms)
    assert await recall(store, KEY, "k") is not None
    (again,) = await store.commit([keyed(clock)])
    assert isinstance(again, Conflict)
    await store.commit([keyed(clock, "after")])
    step(clock, -by_ms)
    assert await recall(store, KEY, "after") is not None
    clock.advance(86_399)
    assert await recall(store, KEY, "k") is not None
    clock.advance(1)
    assert await recall(store, KEY, "k") is None
    await store.close()


@pytest.mark.parametrize("by_ms", STEPS_MS)
@pytest.mark.parametrize("snapshot", [False, True])
async def test_a_step_of_the_wall_clock_between_two_runs_forgets_no_key(
    by_ms: int, snapshot: bool, tmp_path: Path
) -> None:
    clock = ManualClock()
    store = WalStore(tmp_path / "data", clock=clock)
    await store.open()
    await store.commit([keyed(clock)])
    step(clock, by_ms)
    await store.commit([keyed(clock, "later")])
    if snapshot:
        await store.snapshot()
        await store.trim()
    await store.close()
    step(clock, -2 * by_ms)
    again = WalStore(tmp_path / "data", clock=clock)
    await again.open()
    assert await recall(again, KEY, "k") is not None
    assert await recall(again, KEY, "later") is not None
    clock.advance(86_400)
    assert await recall(again, KEY, "k") is None
    await again.close()


async def test_replies_of_a_program_with_short_runs_expire(tmp_path: Path) -> None:
    clock = ManualClock()
    for run in range(30):
        store = WalStore(tmp_path / "data", clock=clock)
        await store.open()
        await store.commit([keyed(clock, f"k{run}")])
        await store.close()
        clock.advance(86_400)
    store = WalStore(tmp_path / "data", clock=clock)
    await store.open()
    assert await recall(store, KEY, "k0") is None
    assert await recall(store, KEY, "k29") is not None
    await store.close()


_PROGRAM = """
import asyncio, sys
from pathlib import Path
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse.ports.clock import SystemClock
from goverse_node.stores.wal.store import WalStore

async def main():
    store, clock = WalStore(Path(sys.argv[1])), SystemClock()
    await store.open()
    key = ObjectKey("default", "Counter", "c")
    kept = store.recall(key, "k")
    if kept is None:
        at_ms = clock.wall_ms()
        reply = StoredReply(b"print", b"reply", at_ms + 86_400_000)
        await store.commit([CommitRecord(key, 0, 0, None, 1, at_ms, "k", reply)])
    await store.close()
    print("executed" if kept is None else "replayed", clock.wall_ms() // 86_400_000)

asyncio.run(main())
"""


def run_at(offset: str, folder: Path) -> tuple[str, int]:
    """Run a program that uses a key, with a wall clock that is wrong by ``offset``."""
    command = ["faketime", "--exclude-monotonic", "-f", offset, sys.executable, "-c", _PROGRAM, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=environment)
    said, day = done.stdout.split()
    return said, int(day)


@pytest.mark.parametrize("offsets", [("+0", "+25h"), ("-30d", "+0"), ("+0", "-30d")])
def test_a_process_under_another_clock_replays_what_the_last_one_kept(offsets: tuple[str, str], tmp_path: Path) -> None:
    first, first_day = run_at(offsets[0], tmp_path / "data")
    second, second_day = run_at(offsets[1], tmp_path / "data")
    assert (first, second) == ("executed", "replayed")
    assert first_day != second_day, "the clock was not changed"
