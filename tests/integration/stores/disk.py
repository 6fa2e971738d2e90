"""A file system that fails on demand: the real one, behind a fault injector."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from goverse_node.stores.wal.files import RealFiles, RealHandle

Fault = Callable[[str, Path], int | None]
"""Asked before each operation (``write``, ``write_durably``, ``sync``, ``replace``, ...): the error number, or None."""


class FaultyFiles(RealFiles):
    """Real files; ``fault`` decides what fails, ``half_written`` how much of a failing write arrives."""

    def __init__(self) -> None:
        self.fault: Fault = lambda operation, path: None
        self.half_written = 0
        self.operations: list[tuple[str, str]] = []

    def fail(self, error: int, *operations: str, name: str = "", times: int = 1_000_000) -> None:
        """Let the next ``times`` of these operations on files whose name contains ``name`` fail."""
        left = [times]

        def fault(operation: str, path: Path) -> int | None:
            if operation in operations and name in path.name and left[0] > 0:
                left[0] -= 1
                return error
            return None

        self.fault = fault

    def heal(self) -> None:
        """Let everything succeed again."""
        self.fault = lambda operation, path: None

    def check(self, operation: str, path: Path) -> None:
        """Fail if the fault says so."""
        self.operations.append((operation, path.name))
        number = self.fault(operation, path)
        if number is not None:
            raise OSError(number, os.strerror(number), str(path))

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> FaultyHandle:
        self.check("open", path)
        real = super().open(path, create=create, write=write)
        return FaultyHandle(real, path, self)

    def replace(self, source: Path, target: Path) -> None:
        self.check("replace", target)
        super().replace(source, target)

    def sync_directory(self, path: Path) -> None:
        self.check("sync_directory", path)
        super().sync_directory(path)


class UnsyncedFiles(RealFiles):
    """Real files that are never synced, for tests that open thousands of stores and cut no power."""

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> RealHandle:
        real = super().open(path, create=create, write=write)
        try:
            return _UnsyncedHandle(os.dup(real.fileno()))
        finally:
            real.close()

    def sync_directory(self, path: Path) -> None:
        assert path.is_dir()


class _UnsyncedHandle(RealHandle):
    def sync(self) -> None:
        assert self.size() >= 0

    def write_durably(self, data: bytes, offset: int) -> None:
        self.write_at(data, offset)


class FaultyHandle(RealHandle):
    """One file of :class:`FaultyFiles`."""

    def __init__(self, real: RealHandle, path: Path, files: FaultyFiles) -> None:
        super().__init__(os.dup(real.fileno()))
        real.close()
        self._path = path
        self._files = files

    def write_at(self, data: bytes, offset: int) -> None:
        self._check_write("write", data, offset)
        super().write_at(data, offset)

    def write_durably(self, data: bytes, offset: int) -> None:
        self._check_write("write_durably", data, offset)
        super().write_durably(data, offset)

    def sync(self) -> None:
        self._files.check("sync", self._path)
        super().sync()

    def truncate(self, size: int) -> None:
        self._files.check("truncate", self._path)
        super().truncate(size)

    def read_at(self, size: int, offset: int) -> bytes:
        self._files.check("read", self._path)
        return super().read_at(size, offset)

    def _check_write(self, operation: str, data: bytes, offset: int) -> None:
        try:
            self._files.check(operation, self._path)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EIO}:
                super().write_at(data[: self._files.half_written], offset)
            raise
