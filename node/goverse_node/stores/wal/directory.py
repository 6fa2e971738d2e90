"""The data directory: where each file is, and who may write.

manifest.json   which files count
lock            held by the one process that writes; its process id stands inside
wal/            segments, named by their first position
snapshots/      snapshots, named by the position that they reach
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

LOCK_PATIENCE_S: Final = 0.5


class DataDirectory:
    """Paths below one data directory."""

    def __init__(self, root: Path) -> None:
        """Name the directory; nothing is touched."""
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
        """Make the directory and its folders, durably."""
        for folder in (self.root, self.segments, self.snapshots):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.sync_directory(self.root)
        files.sync_directory(self.root.parent)

    def holds_data(self) -> bool:
        """Tell whether there are records, with or without a manifest that names them."""
        return any(self.snapshots.glob("*.snap")) or any(
            path.stat().st_size > RECORDS_AT for path in self.segments.glob("*.wal")
        )

    def absent(self) -> DataDamaged:
        """Return the error of a directory that is none of ours."""
        return DataDamaged(
            f"{self.root} is no data directory: {self.manifest.name} is missing (offset 0)",
            file=str(self.root),
            offset=0,
        )

    def read_manifest(self) -> Manifest:
        """Read the manifest and see that the files that it names are there.

        Raises:
            DataDamaged: the manifest, or a file that it names, is missing or damaged.
            DataNewer: a newer release wrote it.
        """
        try:
            content = self.manifest.read_bytes()
        except FileNotFoundError as error:
            if self.holds_data():
                why = "it is missing, and the records beside it cannot be used without it"
                raise damaged(self.manifest, 0, why) from error
            raise self.absent() from error
        manifest = manifests.decode(content, self.manifest)
        named = [self.segment(first) for first in manifest.segments]
        named += [self.snapshot(entry.seq) for entry in manifest.snapshots]
        for path in named:
            if not path.is_file():
                raise damaged(path, 0, f"it is missing, though {self.manifest.name} names it")
        return manifest


class Lock:
    """The right to write, held by one process at a time; the system releases it when the process ends.

    A process that was killed while it started another one leaves that one holding the lock until its first
    instruction, so a lock that is taken is asked for again for a moment.
    """

    def __init__(self, directory: DataDirectory) -> None:
        """Take the lock.

        Raises:
            StoreLocked: another process holds it.
        """
        self._descriptor = -1
        descriptor = os.open(directory.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreLocked(
                f"the data directory {directory.root} is in use by process {holder}; "
                "stop it first, or choose another directory",
                directory=str(directory.root),
                pid=holder,
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise unusable(f"{directory.lock} cannot be locked", error, "--data-dir (wal.data_dir)") from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others write; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _take(descriptor: int) -> None:
    """Lock, at once or a moment later.

    Raises:
        BlockingIOError: somebody else holds the lock.
    """
    end = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.01)
        else:
            return
