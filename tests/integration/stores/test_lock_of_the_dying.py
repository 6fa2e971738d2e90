"""A lock that is held for a moment longer, because its process was killed while it started a child process."""

import fcntl
import os
from pathlib import Path

import pytest

from goverse.errors import StoreLocked
from goverse_node.stores.wal.directory import DataDirectory, Lock


@pytest.mark.requirement("WAL-1")
def test_a_lock_that_is_released_soon_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, flock = DataDirectory(tmp_path), fcntl.flock
    held = [os.open(directory.lock, os.O_RDWR | os.O_CREAT)]
    flock(held[0], fcntl.LOCK_EX)

    def lock_and_let_go(descriptor: int, operation: int) -> None:
        try:
            flock(descriptor, operation)
        finally:
            if held:
                os.close(held.pop())

    monkeypatch.setattr(fcntl, "flock", lock_and_let_go)
    Lock(directory).release()
    assert not held


@pytest.mark.requirement("WAL-1")
def test_a_lock_that_stays_held_is_refused_with_its_holder(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    first = Lock(directory)
    with pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}"):
        Lock(directory)
    first.release()
