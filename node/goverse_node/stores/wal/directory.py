"""The layout of a data directory, and its lock.

manifest.json    the files that belong to the store
lock             locked by the one process that may write; contains its process id, and nothing after an orderly end
compaction.lock  locked by the process that makes a snapshot
wal/             segments, named by their first position
snapshots/       snapshots, named by their last position
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from goverse.errors import DataDamaged, StoreLocked
from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.manifest import Manifest
from goverse_node.stores.wal.refusals import damaged, unusable
from goverse_node.stores.wal.segment import RECORDS_AT

LOCK_TIMEOUT_S: Final = 0.5


class DataDirectory:
    """The paths in one data directory."""

    def __init__(self, root: Path) -> None:
        """Derive the paths. The directory is not accessed."""
        self.root = root
        self.manifest = root / "manifest.json"
        self.lock = root / "lock"
        self.compaction_lock = root / "compaction.lock"
        self.segments = root / "wal"
        self.snapshots = root / "snapshots"

    def segment(self, first_seq: int) -> Path:
        """Return the path of a segment."""
        return self.segments / f"{first_seq:020d}.wal"

    def snapshot(self, seq: int) -> Path:
        """Return the path of a snapshot."""
        return self.snapshots / f"{seq:020d}.snap"

    def create(self, files: Files) -> None:
        """Create the directory and its subdirectories, durably."""
        for folder in (self.root, self.segments, self.snapshots):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.sync_directory(self.root)
        files.sync_directory(self.root.parent)

    def holds_data(self) -> bool:
        """True if there are records, even if no manifest names them."""
        return any(self.snapshots.glob("*.snap")) or any(
            path.stat().st_size > RECORDS_AT for path in self.segments.glob("*.wal")
        )

    def absent(self) -> DataDamaged:
        """Return the error for a directory that is not a data directory."""
        return DataDamaged(
            f"{self.root} is not a data directory: {self.manifest.name} is missing (offset 0)",
            file=str(self.root),
            offset=0,
        )

    def read_manifest(self) -> Manifest:
        """Read the manifest and check that all files in it exist.

        Raises:
            DataDamaged: the manifest is missing or damaged, or a file in it is missing.
            DataNewer: a newer release wrote it.
        """
        try:
            content = self.manifest.read_bytes()
        except FileNotFoundError as error:
            if self.holds_data():
                why = "the file is missing, and the records in this directory cannot be used without it"
                raise damaged(self.manifest, 0, why) from error
            raise self.absent() from error
        manifest = manifests.decode(content, self.manifest)
        named = [self.segment(first) for first in manifest.segments]
        named += [self.snapshot(entry.seq) for entry in manifest.snapshots]
        for path in named:
            if not path.is_file():
                raise damaged(path, 0, f"the file is missing, but {self.manifest.name} names it")
        return manifest


class Lock:
    """An exclusive lock on a data directory. The operating system releases it when the process ends.

    If a process is killed while it starts a child process, the child holds the inherited lock until it executes its
    program. A lock that is taken is therefore tried again for ``LOCK_TIMEOUT_S``.

    Attributes:
        interrupted: True if the last process that served the directory ended without closing its store.
    """

    def __init__(self, directory: DataDirectory, process: int | None = None) -> None:
        """Take the lock for ``process``, the one to stop if another process needs the directory; default: this one.

        Raises:
            StoreLocked: another process holds it.
        """
        self._descriptor = -1
        descriptor = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(descriptor)
            self._found = os.pread(descriptor, 32, 0)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{process or os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreLocked(
                f"the data directory {directory.root} is in use by process {holder}",
                directory=str(directory.root),
                pid=holder,
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise unusable(f"{directory.lock} cannot be locked", error, "--data-dir (wal.data_dir)") from error
        self._descriptor = descriptor
        self.interrupted = bool(self._found)

    def release(self, *, served: bool = False) -> None:
        """Release the lock. May be called twice.

        A process that ``served`` the directory leaves the file empty, as the sign of an orderly end. Any other one,
        such as an administrative command, leaves what it found.
        """
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            if not served:
                os.pwrite(self._descriptor, self._found, 0)
            os.close(self._descriptor)
            self._descriptor = -1


def _take(descriptor: int) -> None:
    """Lock the file; retry for ``LOCK_TIMEOUT_S`` while another process holds the lock.

    Raises:
        BlockingIOError: another process still holds the lock.
    """
    end = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.01)
        else:
            return
