"""The lock of a data directory: one process writes at a time, and the next one can start when it has ended."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from goverse.errors import StoreLocked
from goverse_node.stores.wal.admin import snapshot, trim, verify
from goverse_node.stores.wal.dump import dump
from goverse_node.stores.wal.restore import restore
from tests.integration.stores.samples import call_many, calls_seen, opened, wal_store

HOLDER = """
import asyncio, sys
from pathlib import Path
from tests.integration.stores.samples import call_many, wal_store

async def main():
    store = wal_store(Path(sys.argv[1]))
    await store.open()
    await call_many(store, range(5))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def other_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the store open after five calls."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(part for part in sys.path if part)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.requirement("WAL-1")
async def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        store = wal_store(tmp_path)
        with pytest.raises(StoreLocked, match=f"process {process.pid}"):
            await store.open()
        await store.close()
        process.kill()
        process.wait()
        async with opened(tmp_path) as store:
            assert calls_seen(store) == 5


@pytest.mark.requirement("WAL-1", "WAL-3")
async def test_beside_a_server_one_may_read_but_not_change(tmp_path: Path) -> None:
    with other_process(tmp_path / "data") as process:
        for change in (snapshot, trim):
            with pytest.raises(StoreLocked, match=f"process {process.pid}"):
                change(tmp_path / "data")
        assert verify(tmp_path / "data").acknowledged_seq == 5
        assert len(list(dump(tmp_path / "data"))) == 3
        restore(tmp_path / "data", tmp_path / "copy")
    async with opened(tmp_path / "copy") as store:
        assert calls_seen(store) == 5
        await call_many(store, range(5, 6))


@pytest.mark.requirement("DUR-3")
async def test_a_store_knows_whether_the_last_process_that_served_it_closed_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert not store.interrupted
    with other_process(tmp_path) as process:
        process.kill()
        process.wait()
    async with opened(tmp_path) as store:
        assert store.interrupted
    async with opened(tmp_path) as store:
        assert not store.interrupted


@pytest.mark.requirement("DUR-3")
async def test_commands_leave_the_sign_of_an_unclean_end(tmp_path: Path) -> None:
    with other_process(tmp_path) as process:
        process.kill()
        process.wait()
    snapshot(tmp_path)
    async with opened(tmp_path, serves=False) as store:
        await call_many(store, range(5, 6))
    async with opened(tmp_path) as store:
        assert store.interrupted
