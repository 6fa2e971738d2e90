"""Snapshots and trims of a running store.

A snapshot takes four steps:

1. Rotate the log, so that the snapshot covers whole segments.
2. Run the compactor in its own process.
3. Switch the manifest to the new snapshot.
4. Remove the files that the new manifest does not name. A crash before this step only leaves files behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from goverse.model.effects import CallState
from goverse_node.stores.receipt_rounds import Floors
from goverse_node.stores.wal.compact import Task
from goverse_node.stores.wal.compactor import Compactor
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.log_writer import LogWriter
from goverse_node.stores.wal.manifest import Manifest, SnapshotEntry
from goverse_node.stores.wal.stats import WalStats

SEGMENTS_MAX: Final = 64
"""If there are more segments than this at a start, a snapshot is made, however small they are. Each start adds one."""

_log = logging.getLogger("goverse.store.wal")


@dataclass(frozen=True, slots=True)
class Retention:
    """Settings for snapshots.

    Attributes:
        snapshot_bytes: the size of the log at which a snapshot starts; 0 for no automatic snapshots.
        snapshots_kept: the number of snapshots to keep.
        tombstone_retention_s: the time for which deleted objects are remembered.
        calls_most_ms: the limits on the times of finished calls, by state.
    """

    snapshot_bytes: int
    snapshots_kept: int
    tombstone_retention_s: float
    calls_most_ms: Mapping[CallState, int]


class Now(NamedTuple):
    """The present time: the store's running time and the wall-clock time."""

    running_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The number of files that a trim removed, and their size in bytes."""

    segments: int
    snapshots: int
    size: int


class Upkeep:
    """Makes a snapshot whenever the log after the newest one has become too long."""

    def __init__(
        self,
        directory: DataDirectory,
        files: Files,
        stats: WalStats,
        retention: Retention,
        *,
        now: Callable[[], Now],
        floors: Callable[[], Floors],
    ) -> None:
        """Create the upkeep. It does nothing before :meth:`start`. ``floors`` returns those of receipts."""
        self._directory = directory
        self._files = files
        self._now = now
        self._floors = floors
        self._stats = stats
        self._retention = retention
        self._compactor = Compactor()
        self._task: asyncio.Task[SnapshotEntry] | None = None
        self._due_bytes = retention.snapshot_bytes
        self._writer: LogWriter

    @property
    def compactor_pid(self) -> int | None:
        """The process id of the running compactor, or None."""
        return self._compactor.pid

    def start(self, writer: LogWriter) -> None:
        """Start with this writer. If a snapshot is due, it is started immediately."""
        self._writer = writer
        self._set_due(writer.manifest)
        if self._retention.snapshot_bytes and len(writer.manifest.segments) > SEGMENTS_MAX:
            self._begin()
        self.start_if_due()

    def start_if_due(self) -> None:
        """Start a snapshot if the log is long enough and none is being made."""
        if self._retention.snapshot_bytes and self._stats.log_bytes >= self._due_bytes and self._task is None:
            self._begin()

    async def stop(self) -> None:
        """Kill the compactor, if it runs."""
        self._compactor.stop()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def snapshot(self) -> SnapshotEntry:
        """Make a snapshot of everything committed so far. A snapshot that is being made is finished first.

        Raises:
            Unavailable: the snapshot failed. The store continues without it.
            StoreFailed: the store has stopped accepting changes.
        """
        if self._task is not None:
            await asyncio.wait({self._task})
        # Another caller that waited here may have started the next snapshot already. It covers this request, too.
        return await asyncio.shield(self._task or self._begin())

    async def trim(self, snapshots_kept: int) -> Trimmed:
        """Remove all but the newest snapshots, and the log that only the removed ones need.

        The snapshots to keep are verified first, so that a trim never leaves a damaged one as the only copy.

        Raises:
            Unavailable: a snapshot to keep is damaged. Nothing was removed.
        """
        if self._task is not None:
            await asyncio.wait({self._task})
        kept = max(1, snapshots_kept)
        verified = {entry.seq for entry in self._writer.manifest.snapshots[-kept:]}
        await asyncio.to_thread(self._compactor.verify, self._directory.root, kept)
        return await self._switch(lambda present: present.trimmed_to(verified))

    def _begin(self) -> asyncio.Task[SnapshotEntry]:
        task = self._task = asyncio.get_running_loop().create_task(self._make())
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[SnapshotEntry]) -> None:
        self._task = None
        if task.cancelled() or task.exception() is not None:
            self._stats.snapshots_failed += 1
            self._due_bytes = self._stats.log_bytes + max(1, self._retention.snapshot_bytes // 4)
            _log.warning("snapshot failed: %s", "cancelled" if task.cancelled() else task.exception())

    async def _make(self) -> SnapshotEntry:
        floors = self._floors()  # before the rotation, so that they hold at the end of the snapshot
        manifest = await self._writer.call(self._writer.rotate)
        upto = manifest.segments[-1] - 1
        if manifest.snapshots and manifest.snapshots[-1].seq == upto:
            return manifest.snapshots[-1]
        covered = self._stats.log_bytes
        now = self._now()
        before_ms = now.wall_ms - round(self._retention.tombstone_retention_s * 1000)
        held, calls = tuple(floors.held.items()), tuple(self._retention.calls_most_ms.items())
        task = Task(str(self._directory.root), upto, now.running_ms, before_ms, floors.floor, held, calls)
        made = await asyncio.to_thread(self._compactor.compact, task)
        entry = made.snapshot
        await self._switch(
            lambda present: present.with_snapshot(entry, base_seq=made.base_seq).trimmed(self._retention.snapshots_kept)
        )
        self._stats.log_bytes -= covered
        self._stats.snapshots_made += 1
        self._set_due(self._writer.manifest)
        _log.info("snapshot at %d: %d objects, %d replies", entry.seq, entry.objects, entry.replies)
        return entry

    def _set_due(self, manifest: Manifest) -> None:
        # Not before the log is as large as the snapshot: rewriting the snapshot then costs no more than the log did.
        size = manifest.snapshots[-1].size if manifest.snapshots else 0
        self._due_bytes = max(self._retention.snapshot_bytes, size)

    async def _switch(self, change: Callable[[Manifest], Manifest]) -> Trimmed:
        def switch() -> tuple[Manifest, Manifest]:
            old = self._writer.manifest
            new = change(old)
            if new != old:
                self._writer.switch(new)
            return old, new

        old, new = await self._writer.call(switch)
        return await asyncio.to_thread(remove_unnamed, self._directory, self._files, old, new)


def remove_unnamed(directory: DataDirectory, files: Files, old: Manifest, new: Manifest) -> Trimmed:
    """Remove the files that are in ``old`` but not in ``new``."""
    segments = [directory.segment(first) for first in set(old.segments) - set(new.segments)]
    kept = {entry.seq for entry in new.snapshots}
    snapshots = [directory.snapshot(entry.seq) for entry in old.snapshots if entry.seq not in kept]
    size = 0
    for path in (*segments, *snapshots):
        try:
            size += path.stat().st_size
            files.unlink(path)
        except OSError as error:
            # The file is no longer part of the store. The next start tries to remove it.
            _log.warning("removing %s failed: %s", path, error)
    return Trimmed(len(segments), len(snapshots), size)
