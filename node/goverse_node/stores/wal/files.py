"""The few things the log asks of a file system, so that a test can let each of them fail.

``write_durably`` is one system call where the kernel has ``pwritev2`` with ``RWF_DSYNC``: a thread that
shares Python's lock with a busy event loop then waits for that lock once instead of twice.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

_DSYNC: Final[int] = getattr(os, "RWF_DSYNC", 0)


class Handle(Protocol):
    """An open file."""

    def read_at(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes; fewer only at the end of the file."""
        ...

    def write_at(self, data: bytes, offset: int) -> None:
        """Write all of ``data``; it survives the process, not the machine."""
        ...

    def write_durably(self, data: bytes, offset: int) -> None:
        """Write all of ``data``; it survives the machine."""
        ...

    def sync(self) -> None:
        """Make everything written so far durable."""
        ...

    def truncate(self, size: int) -> None:
        """Cut or extend the file."""
        ...

    def size(self) -> int:
        """Return the size in bytes."""
        ...

    def links(self) -> int:
        """Return how many names the file has; 0 when it was removed."""
        ...

    def drop_cache(self) -> None:
        """Let the next reads come from the disk, not from memory that a failed sync may have left wrong."""
        ...

    def close(self) -> None:
        """Close the file; may be called twice."""
        ...


class Files(Protocol):
    """A file system."""

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> Handle:
        """Open a file; ``create`` makes it new and empty, for writing."""
        ...

    def replace(self, source: Path, target: Path) -> None:
        """Rename ``source`` over ``target``."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file that may be gone already."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...


class RealHandle:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        """Own an open descriptor."""
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def read_at(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes; fewer only at the end of the file."""
        data = os.pread(self._descriptor, size, offset)
        while 0 < len(data) < size:
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write_at(self, data: bytes, offset: int) -> None:
        """Write all of ``data``."""
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)

    def write_durably(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` and wait until the disk has it."""
        if not _DSYNC:
            self.write_at(data, offset)
            self.sync()
            return
        written = os.pwritev(self._descriptor, [data], offset, _DSYNC)
        while written < len(data):
            written += os.pwritev(self._descriptor, [memoryview(data)[written:]], offset + written, _DSYNC)

    def sync(self) -> None:
        """Make everything written so far durable."""
        if hasattr(os, "fdatasync"):
            os.fdatasync(self._descriptor)
        else:
            os.fsync(self._descriptor)

    def truncate(self, size: int) -> None:
        """Cut or extend the file."""
        os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        """Return the size in bytes."""
        return os.fstat(self._descriptor).st_size

    def links(self) -> int:
        """Return how many names the file has."""
        return os.fstat(self._descriptor).st_nlink

    def drop_cache(self) -> None:
        """Let the next reads come from the disk."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RealFiles:
    """The operating system's file system."""

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> RealHandle:
        """Open a file."""
        flags = os.O_CLOEXEC | (os.O_RDWR if write or create else os.O_RDONLY)
        if create:
            flags |= os.O_CREAT | os.O_TRUNC
        return RealHandle(os.open(path, flags, 0o600))

    def replace(self, source: Path, target: Path) -> None:
        """Rename ``source`` over ``target``."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a file that may be gone already."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
