"""Administration of a data directory: verify it, make a snapshot, trim it.

``verify`` only reads, so a server may use the directory at the same time. ``snapshot`` and ``trim`` need exclusive
access to it. A running server offers both operations itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from goverse.errors import DataDamaged, StoreFailed
from goverse.limits import TOMBSTONE_RETENTION_S, WAL_SNAPSHOTS_KEPT
from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.compact import Task, compact, verify_snapshots
from goverse_node.stores.wal.directory import DataDirectory, Lock
from goverse_node.stores.wal.ending import settle_pages, take_over
from goverse_node.stores.wal.files import Files, RealFiles
from goverse_node.stores.wal.log import Log, Progress
from goverse_node.stores.wal.manifest import Manifest, SnapshotEntry
from goverse_node.stores.wal.snapshot import SnapshotReader
from goverse_node.stores.wal.upkeep import Trimmed, remove_unnamed


@dataclass(slots=True)
class Inspection:
    """The contents of a data directory and the damage in it.

    Attributes:
        directory: the data directory.
        store_id, generation: the identity of the store.
        segments, snapshots: the number of files of each kind.
        size: their total size in bytes.
        records: the number of records in the log.
        last_seq: the last position in the log.
        acknowledged_seq: the last position that is known to be acknowledged.
        oldest_seq: the oldest position that can be restored.
        objects, replies: the contents of the newest undamaged snapshot.
        problems: one sentence for each damage, with file and offset; empty if the data is undamaged.
    """

    directory: Path
    store_id: str = ""
    generation: str = ""
    segments: int = 0
    snapshots: int = 0
    size: int = 0
    records: int = 0
    last_seq: int = 0
    acknowledged_seq: int = 0
    oldest_seq: int = 0
    objects: int = 0
    replies: int = 0
    problems: list[str] = field(default_factory=list[str])


def verify(source: Path, *, files: Files | None = None, progress: Progress | None = None) -> Inspection:
    """Read all files of the store and report their contents. Damage is listed in ``problems``, not raised.

    Raises:
        DataNewer: a newer release wrote the data.
    """
    real: Files = files or RealFiles()
    directory = DataDirectory(source)
    found = Inspection(source)
    try:
        manifest = directory.read_manifest()
    except DataDamaged as damage:
        found.problems.append(damage.detail)
        return found
    found.store_id, found.generation = manifest.origin.store_id, manifest.origin.generation
    found.segments, found.snapshots = len(manifest.segments), len(manifest.snapshots)
    paths = [directory.segment(first) for first in manifest.segments]
    paths += [directory.snapshot(entry.seq) for entry in manifest.snapshots]
    found.size = sum(path.stat().st_size for path in paths)
    found.oldest_seq = manifest.snapshots[0].seq if manifest.segments[0] > 1 and manifest.snapshots else 0
    _verify_snapshots(directory, manifest, real, found)
    _verify_log(Log(directory, manifest, real, progress), manifest, found)
    return found


def _verify_snapshots(directory: DataDirectory, manifest: Manifest, files: Files, found: Inspection) -> None:
    for entry in manifest.snapshots:
        try:
            for _ in SnapshotReader(directory.snapshot(entry.seq), manifest.origin, entry).bodies(files):
                pass
        except DataDamaged as damage:
            found.problems.append(damage.detail)
        else:
            found.objects, found.replies = entry.objects, entry.replies


def _verify_log(log: Log, manifest: Manifest, found: Inspection) -> None:
    try:
        for _ in log.records(manifest.segments[0] - 1):
            found.records += 1
    except DataDamaged as damage:
        found.problems.append(damage.detail)
    found.last_seq = manifest.segments[0] - 1 + found.records
    if log.tail is not None:
        found.acknowledged_seq = log.tail.acknowledged_seq


def snapshot(
    source: Path,
    *,
    snapshots_kept: int = WAL_SNAPSHOTS_KEPT,
    tombstone_retention_s: float = TOMBSTONE_RETENTION_S,
    now_ms: int | None = None,
    files: Files | None = None,
    progress: Progress | None = None,
) -> SnapshotEntry:
    """Make a snapshot of everything in a directory that no server uses, then trim older snapshots and log.

    Raises:
        StoreLocked: a server uses the directory.
        DataDamaged: the data cannot be read.
        StoreFailed: writing the snapshot failed.
    """
    real: Files = files or RealFiles()
    directory, lock = _locked(source)
    try:
        manifest = directory.read_manifest()
        settle_pages(directory, manifest, real)
        log = Log(directory, manifest, real, progress)
        for _ in log.records(manifest.segments[-1] - 1):
            pass
        if log.tail is None:
            raise StoreFailed(f"the manifest of {source} contains no segment")
        manifest = take_over(directory, manifest, log.tail, real)
        wall_ms = now_ms if now_ms is not None else time.time_ns() // 1_000_000
        before_ms = wall_ms - round(tombstone_retention_s * 1000)
        # now_ms is 0: replies expire by the running time of the store, which does not advance here.
        made = compact(Task(str(source), log.tail.last_seq, 0, before_ms), real, progress)
        new = manifest.with_snapshot(made.snapshot, base_seq=made.base_seq).trimmed(snapshots_kept)
        _switch(directory, manifest, new, real)
        return made.snapshot
    except OSError as error:
        raise StoreFailed(f"making a snapshot of {source} failed: {error}") from error
    finally:
        lock.release()


def trim(source: Path, *, snapshots_kept: int = 1, files: Files | None = None) -> Trimmed:
    """Remove all but the newest snapshots, and the log that only the removed ones need.

    The snapshots to keep are verified first, so that a trim never leaves a damaged one as the only copy.

    Raises:
        StoreLocked: a server uses the directory.
        DataDamaged: a snapshot to keep is damaged.
        StoreFailed: changing the directory failed.
    """
    real: Files = files or RealFiles()
    directory, lock = _locked(source)
    try:
        old = directory.read_manifest()
        new = old.trimmed(max(1, snapshots_kept))
        verify_snapshots(directory, new, real)
        return _switch(directory, old, new, real)
    except OSError as error:
        raise StoreFailed(f"trimming {source} failed: {error}") from error
    finally:
        lock.release()


def _locked(source: Path) -> tuple[DataDirectory, Lock]:
    directory = DataDirectory(source)
    if not directory.manifest.exists():
        raise directory.absent()
    return directory, Lock(directory)


def _switch(directory: DataDirectory, old: Manifest, new: Manifest, files: Files) -> Trimmed:
    if new != old:
        manifests.write(new, directory.manifest, files)
    return remove_unnamed(directory, files, old, new)
