"""Point-in-time restore: copy the state at a position or a time into a new store in a new directory.

The source is only read, and all checksums of the records that are needed are verified. The new directory gets its name
when it is complete. Its change feed has a new generation. New positions are higher than every position that the source
can have assigned, including those of unreadable records, so no position is used twice.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from goverse.errors import RestoreRefused
from goverse_node.stores.encoding import PREFIX, STATE_AT, at_ms_of, seq_of
from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.compact import Task, snapshot_of, whole_snapshot
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.ending import create_segment
from goverse_node.stores.wal.files import Files, RealFiles
from goverse_node.stores.wal.log import Log, Progress
from goverse_node.stores.wal.manifest import Manifest
from goverse_node.stores.wal.refusals import unusable
from goverse_node.stores.wal.salvage import usable_manifest
from goverse_node.stores.wal.scan import Scan
from goverse_node.stores.wal.segment import RECORDS_AT, Origin, read_mark

_RECORD_SIZE_MIN: Final = PREFIX.size + STATE_AT


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored store.

    Attributes:
        directory: the new data directory.
        seq: the position that was restored.
        next_seq: the first position that the store will assign.
        generation: the generation of its change feed.
        objects, replies: the number of objects, including tombstones, and of kept replies.
    """

    directory: Path
    seq: int
    next_seq: int
    generation: str
    objects: int
    replies: int


def restore(
    source: Path,
    into: Path,
    *,
    to_seq: int | None = None,
    to_time_ms: int | None = None,
    files: Files | None = None,
    progress: Progress | None = None,
) -> Restored:
    """Restore ``source`` at a position, at a time, or at its end into the directory ``into``.

    A time selects all records before the first one that was written after that time. A time in the future is refused.

    Raises:
        RestoreRefused: ``into`` is not empty, or the point in time is not covered.
        DataDamaged: a record up to that point does not match its checksum.
        DataNewer: a newer release wrote the source.
    """
    if to_seq is not None and to_time_ms is not None:
        raise RestoreRefused("specify a position or a time, not both")
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise RestoreRefused(f"{into} is not empty; name a new directory", into=str(into))
    real: Files = files or RealFiles()
    directory = DataDirectory(source)
    manifest = usable_manifest(directory, real)
    point = _Point(directory, manifest, real, progress)
    seq = point.at_time(to_time_ms) if to_time_ms is not None else point.at_position(to_seq)
    building = into.absolute().parent / f".{into.name}.{secrets.token_hex(4)}.restoring"
    try:
        restored = _build(building, point, seq)
        os.replace(building, into)  # noqa: PTH105 - over an empty directory, which Path.rename leaves open
        real.sync_directory(into.absolute().parent)
    except OSError as error:
        raise unusable(f"nothing was restored into {into}", error, "--into") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Restored(into, seq, *restored)


def position_of(
    directory: DataDirectory, manifest: Manifest, files: Files, *, to_seq: int | None, to_time_ms: int | None
) -> int:
    """Return the position of a point in time.

    Raises:
        RestoreRefused: the point in time is not covered.
    """
    point = _Point(directory, manifest, files, None)
    return point.at_time(to_time_ms) if to_time_ms is not None else point.at_position(to_seq)


def time_text(time_ms: int) -> str:
    """Format a time as the command line accepts it; in milliseconds if it is outside the range of ``datetime``."""
    try:
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError):
        return f"{time_ms} ms"


@dataclass(slots=True)
class _Point:
    """Finds the position to restore."""

    directory: DataDirectory
    manifest: Manifest
    files: Files
    progress: Progress | None

    def at_position(self, seq: int | None) -> int:
        last, marked = self._ends()
        if seq is None or last < seq <= marked:
            self._refuse_damaged_tail()
        if seq is None:
            return last
        oldest = self.oldest()
        if not oldest <= seq <= last:
            raise RestoreRefused(
                f"position {seq} is not covered; {self.directory.root} covers {oldest} to {last}",
                oldest=str(oldest),
                newest=str(last),
            )
        return seq

    def at_time(self, time_ms: int) -> int:
        usable = [entry.seq for entry in self.manifest.snapshots if entry.last_ms <= time_ms]
        after = max(usable, default=0)
        if not usable and self._first() > 1:
            raise self._not_reaching_back()
        seq = after
        for body in Log(self.directory, self.manifest, self.files, self.progress).records(after):
            if at_ms_of(body) > time_ms:
                return seq
            seq = seq_of(body)
        now_ms = time.time_ns() // 1_000_000
        if time_ms > now_ms:  # checked after the log: a clock that was set back can leave records in the "future"
            raise RestoreRefused(
                f"{time_text(time_ms)} is in the future: it is {time_text(now_ms)}, and the newest position is {seq}",
                now=time_text(now_ms),
                newest=str(seq),
            )
        return seq

    def _not_reaching_back(self) -> RestoreRefused:
        detail = f"the log of {self.directory.root} does not reach back to that time"
        if not self.manifest.snapshots:
            return RestoreRefused(f"{detail}, and there is no snapshot")
        oldest_ms = min(entry.last_ms for entry in self.manifest.snapshots)
        oldest = time_text(-(-oldest_ms // 1000) * 1000)  # rounded up, because times are shown in seconds
        return RestoreRefused(f"{detail}; it covers {oldest} and later", oldest=str(self.oldest()), oldest_time=oldest)

    def oldest(self) -> int:
        """The oldest position that can be restored."""
        if self._first() == 1:
            return 0
        return min((entry.seq for entry in self.manifest.snapshots), default=self._first())

    def floor(self) -> int:
        """An upper bound for the positions of all records in the source, including unreadable ones."""
        newest = max((entry.seq for entry in self.manifest.snapshots), default=0)
        if not self.manifest.segments:
            return newest
        last, mark_seq, unreadable = self._read_last_segment()
        return max(newest, last + unreadable // _RECORD_SIZE_MIN, mark_seq)

    def _first(self) -> int:
        return self.manifest.segments[0] if self.manifest.segments else 2

    def _ends(self) -> tuple[int, int]:
        """Return the last readable position and the last position that is known to be acknowledged."""
        newest = max((entry.seq for entry in self.manifest.snapshots), default=0)
        if not self.manifest.segments:
            return newest, newest
        last, marked, _ = self._read_last_segment()
        return max(newest, last), marked

    def _refuse_damaged_tail(self) -> None:
        """Raise ``DataDamaged`` if acknowledged records at the end of the log cannot be read.

        To restore without them, the caller has to specify a position.
        """
        if self.manifest.segments:
            for _ in Log(self.directory, self.manifest, self.files).blocks(self.manifest.segments[-1] - 1):
                pass

    def _read_last_segment(self) -> tuple[int, int, int]:
        """Return the position of the last whole record, the acknowledged position and the count of unreadable bytes."""
        first = self.manifest.segments[-1]
        handle = self.files.open(self.directory.segment(first))
        try:
            mark = read_mark(handle)
            size = handle.size()
            scan = Scan(handle, offset=RECORDS_AT, size=size)
            last = first - 1
            for body in scan:
                last = seq_of(body)
        finally:
            handle.close()
        return last, mark.seq if mark is not None else 0, size - scan.end if scan.stopped else 0


def _build(building: Path, point: _Point, seq: int) -> tuple[int, str, int, int]:
    whole_snapshot(point.directory, point.manifest, seq, point.files)
    origin = Origin(point.manifest.origin.store_id, secrets.token_hex(8))
    floor = max(point.floor(), seq)
    target = DataDirectory(building)
    target.create(point.files)
    manifest = Manifest(origin, point.manifest.created_ms, (floor + 1,))
    objects = replies = 0
    if floor:
        made = snapshot_of(
            point.directory,
            point.manifest,
            Task(str(point.directory.root), seq, 0, 0),
            files=point.files,
            target=target.snapshot(floor),
            origin=origin,
            seq=floor,
            progress=point.progress,
        )
        manifest = manifest.with_snapshot(made.snapshot)
        objects, replies = made.snapshot.objects, made.snapshot.replies
    create_segment(target, manifest, floor + 1, point.files)
    manifests.write(manifest, target.manifest, point.files)
    return floor + 1, origin.generation, objects, replies
