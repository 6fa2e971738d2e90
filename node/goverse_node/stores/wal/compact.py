"""Make a snapshot: fold the newest undamaged snapshot and the sealed segments after it into a new one.

While a store serves calls, this module runs in a child process (``python -m``), because a thread would compete with the
event loop for the interpreter. It only reads sealed segments and only changes its own files. The caller switches the
manifest afterwards. The process ends with its parent: its standard input is a pipe that closes when the parent dies.
"""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from goverse.errors import DataDamaged, StoreError
from goverse.model.effects import CallState
from goverse_node.stores.receipt_rounds import Floors
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files, RealFiles
from goverse_node.stores.wal.fold import Fold
from goverse_node.stores.wal.log import Log, Progress
from goverse_node.stores.wal.manifest import Manifest, SnapshotEntry
from goverse_node.stores.wal.segment import Origin
from goverse_node.stores.wal.snapshot import SnapshotReader, write_snapshot

NICENESS = 10

_log = logging.getLogger("goverse.store.wal")


@dataclass(frozen=True, slots=True)
class Task:
    """A snapshot to make.

    Attributes:
        directory: the data directory.
        upto: the last position to include.
        now_ms: the present running time of the store. Replies that have expired by then are left out.
        tombstones_before_ms: tombstones older than this wall-clock time are left out.
        receipts_floor, receipts_held: the floors up to which receipts are left out. They must have been true at a
            position up to ``upto``: else the snapshot could have a pending call without its receipt.
        calls_most_ms: the limits on the times of finished calls, by state.
    """

    directory: str
    upto: int
    now_ms: int
    tombstones_before_ms: int
    receipts_floor: int = 0
    receipts_held: tuple[tuple[int, int], ...] = ()
    calls_most_ms: tuple[tuple[CallState, int], ...] = ()

    @property
    def floors(self) -> Floors:
        """The floors of receipts."""
        return Floors(self.receipts_floor, dict(self.receipts_held))


@dataclass(frozen=True, slots=True)
class Made:
    """A new snapshot, and the position of the snapshot that it was made from (0 if it was made from the log alone)."""

    snapshot: SnapshotEntry
    base_seq: int


def compact(task: Task, files: Files, progress: Progress | None = None) -> Made:
    """Write the snapshot. The caller has to add it to the manifest.

    Raises:
        DataDamaged: records that the snapshot needs cannot be read.
    """
    directory = DataDirectory(Path(task.directory))
    # A compactor can outlive a killed parent for a moment. The lock keeps two of them from writing the same files.
    lock = os.open(directory.compaction_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return snapshot_of(directory, directory.read_manifest(), task, files=files, progress=progress)
    finally:
        os.close(lock)


def snapshot_of(
    directory: DataDirectory,
    manifest: Manifest,
    task: Task,
    *,
    files: Files,
    target: Path | None = None,
    origin: Origin | None = None,
    seq: int | None = None,
    progress: Progress | None = None,
) -> Made:
    """Write a snapshot of everything up to ``task.upto``, by default to its path in the directory.

    For a restore, the snapshot belongs to a new store: ``target`` is its path, ``origin`` the identity of that store,
    and ``seq`` the position that the snapshot gets there.
    """
    base = whole_snapshot(directory, manifest, task.upto, files)
    after = base.entry.seq if base is not None else 0
    path = target or directory.snapshot(task.upto)
    fold = Fold(path.parent, files)
    try:
        fold.add(Log(directory, manifest, files, progress).records(after, task.upto))
        older = base.bodies(files) if base is not None else iter(())
        bodies = fold.merged(
            older,
            now_ms=task.now_ms,
            tombstones_before_ms=task.tombstones_before_ms,
            floors=task.floors,
            calls_most_ms=dict(task.calls_most_ms),
        )
        entry = write_snapshot(
            path,
            bodies,
            origin=origin or manifest.origin,
            seq=task.upto if seq is None else seq,
            last_ms=max(fold.last_ms, base.entry.last_ms if base is not None else 0),
            files=files,
        )
        return Made(entry, after)
    finally:
        fold.close()


def whole_snapshot(directory: DataDirectory, manifest: Manifest, upto: int, files: Files) -> SnapshotReader | None:
    """Return the newest undamaged snapshot at or before ``upto``, or None if the log alone is sufficient.

    Raises:
        DataDamaged: all snapshots are damaged, and the log does not go back to the start.
    """
    trouble: DataDamaged | None = None
    for entry in reversed(manifest.snapshots):
        if entry.seq > upto:
            continue
        reader = SnapshotReader(directory.snapshot(entry.seq), manifest.origin, entry)
        try:
            _drain(reader.bodies(files))
        except DataDamaged as damage:
            _log.warning("snapshot skipped, using the previous one: %s", damage.detail)
            trouble = trouble or damage
        else:
            return reader
    if trouble is not None and manifest.segments[0] > 1:
        raise trouble
    return None


def verify_snapshots(directory: DataDirectory, manifest: Manifest, files: Files) -> None:
    """Verify the snapshots in ``manifest``.

    Raises:
        DataDamaged: a snapshot is damaged.
    """
    for entry in manifest.snapshots:
        _drain(SnapshotReader(directory.snapshot(entry.seq), manifest.origin, entry).bodies(files))


def _drain(bodies: Iterator[bytes]) -> None:
    for _ in bodies:
        pass


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(4)


def main(arguments: list[str]) -> int:
    """Run one request, ``compact`` or ``verify``. The first argument is the request and stdout the answer, in JSON."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.disable()  # a short-lived process with millions of bytes objects and no cycles
    with suppress(OSError):
        os.nice(NICENESS)
    try:
        answer = _answer(json.loads(arguments[0]), RealFiles())
    except StoreError as error:
        answer = {"error": error.detail}
    except OSError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    return 1 if "error" in answer else 0


def _answer(request: dict[str, Any], files: Files) -> dict[str, Any]:
    if "compact" in request:
        return asdict(compact(Task(**request["compact"]), files))
    directory = DataDirectory(Path(request["verify"]))
    manifest = directory.read_manifest()
    verify_snapshots(directory, manifest.trimmed(request["snapshots_kept"]), files)
    return {}


if __name__ == "__main__":
    # os._exit skips the interpreter's shutdown, which would wait for the thread that reads standard input.
    os._exit(main(sys.argv[1:]))
