"""The file operations of the embedded store, as a protocol, so that tests can make each operation fail.

Where the kernel has ``pwritev2`` with ``RWF_DSYNC``, ``write_durably`` is one system call instead of two. A thread that
shares the interpreter's lock with a busy event loop then has to acquire that lock once instead of twice.
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
        """Write all of ``data``. It survives a crash of the process, but not of the machine."""
        ...

    def write_durably(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` and wait until it is on the disk. It survives a crash of the machine."""
        ...

    def sync(self) -> None:
        """Make everything written so far durable."""
        ...

    def truncate(self, size: int) -> None:
        """Set the file's size, by cutting it off or extending it with zeros."""
        ...

    def size(self) -> int:
        """Return the size in bytes."""
        ...

    def links(self) -> int:
        """Return the number of names of the file; 0 after it was removed."""
        ...

    def drop_cache(self) -> None:
        """Drop the file from the page cache, so that the next reads come from the disk.

        After a failed sync the cache may contain data that is not on the disk.
        """
        ...

    def close(self) -> None:
        """Close the file. May be called twice."""
        ...


class Files(Protocol):
    """A file system."""

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> Handle:
        """Open a file. With ``create``, it is created or emptied, and opened for writing."""
        ...

    def replace(self, source: Path, target: Path) -> None:
        """Rename ``source`` over ``target``."""
        ...

    def unlink(self, path: Path) -> None:
        """Remove a file, if it exists."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable: files that were created, renamed or removed."""
        ...


class RealHandle:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        """Take ownership of an open descriptor."""
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def read_at(self, size: int, offset: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        while 0 < len(data) < size:
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write_at(self, data: bytes, offset: int) -> None:
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)

    def write_durably(self, data: bytes, offset: int) -> None:
        if not _DSYNC:
            self.write_at(data, offset)
            self.sync()
            return
        written = os.pwritev(self._descriptor, [data], offset, _DSYNC)
        while written < len(data):
            written += os.pwritev(self._descriptor, [memoryview(data)[written:]], offset + written, _DSYNC)

    def sync(self) -> None:
        if hasattr(os, "fdatasync"):
            os.fdatasync(self._descriptor)
        else:
            os.fsync(self._descriptor)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def links(self) -> int:
        return os.fstat(self._descriptor).st_nlink

    def drop_cache(self) -> None:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RealFiles:
    """The operating system's file system."""

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> RealHandle:
        flags = os.O_CLOEXEC | (os.O_RDWR if write or create else os.O_RDONLY)
        if create:
            flags |= os.O_CREAT | os.O_TRUNC
        return RealHandle(os.open(path, flags, 0o600))

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
