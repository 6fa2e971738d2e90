"""Snapshots and trims while the store serves.

A snapshot begins with a rotation, so that it covers whole segments; then the compactor works in its own
process; then the manifest is switched, and only after that the files that nothing needs any more are removed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from goverse_node.stores.wal.compact import Task
from goverse_node.stores.wal.compactor import Compactor
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.files import Files
from goverse_node.stores.wal.manifest import Manifest, SnapshotEntry
from goverse_node.stores.wal.stats import WalStats
from goverse_node.stores.wal.log_writer import LogWriter

SEGMENTS_MAX: Final = 64
"""More segments than this start a snapshot, however small they are: each start of the store leaves one."""

_log = logging.getLogger("goverse.store.wal")


@dataclass(frozen=True, slots=True)
class Retention:
    """How much log starts a snapshot (0: none), how many stay, how long deleted objects are remembered."""

    snapshot_bytes: int
    snapshots_kept: int
    tombstone_retention_s: float


class Now(NamedTuple):
    """The present time: the store's running time, and the wall clock's."""

    running_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What a trim removed."""

    segments: int
    snapshots: int
    size: int


class Upkeep:
    """Keeps the log behind the newest snapshot short."""

    def __init__(
        self,
        directory: DataDirectory,
        files: Files,
        stats: WalStats,
        retention: Retention,
        *,
        now: Callable[[], Now],
    ) -> None:
        """Nothing runs before :meth:`start`."""
        self._directory = directory
        self._files = files
        self._now = now
        self._stats = stats
        self._retention = retention
        self._compactor = Compactor()
        self._task: asyncio.Task[SnapshotEntry] | None = None
        self._due_bytes = retention.snapshot_bytes
        self._writer: LogWriter

    @property
    def compactor_pid(self) -> int | None:
        """The process that makes a snapshot now."""
        return self._compactor.pid

    def start(self, writer: LogWriter) -> None:
        """Work with this writer; makes a snapshot at once where one is due."""
        self._writer = writer
        self._set_due(writer.manifest)
        if self._retention.snapshot_bytes and len(writer.manifest.segments) > SEGMENTS_MAX:
            self._begin()
        self.look()

    def look(self) -> None:
        """Start a snapshot if enough log has come together."""
        if self._retention.snapshot_bytes and self._stats.log_bytes >= self._due_bytes and self._task is None:
            self._begin()

    async def stop(self) -> None:
        """Kill a snapshot under way."""
        self._compactor.stop()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def snapshot(self) -> SnapshotEntry:
        """Make a snapshot of everything committed so far; one under way is waited for first.

        Raises:
            Unavailable: it failed; the store goes on.
            StoreFailed: the store takes no more changes.
        """
        if self._task is not None:
            await asyncio.wait({self._task})
        # Whoever waited beside us may have begun the next one, and it covers what we ask for.
        return await asyncio.shield(self._task or self._begin())

    async def trim(self, snapshots_kept: int) -> Trimmed:
        """Remove all but the newest snapshots, and the log that only the removed ones needed.

        The snapshots that stay are read first: a trim never leaves a damaged one as the only way back.

        Raises:
            Unavailable: one of them is damaged; nothing was removed.
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
            _log.warning("no snapshot was made: %s", "cancelled" if task.cancelled() else task.exception())

    async def _make(self) -> SnapshotEntry:
        started = time.monotonic()
        manifest = await self._writer.call(self._writer.rotate)
        upto = manifest.segments[-1] - 1
        if manifest.snapshots and manifest.snapshots[-1].seq == upto:
            return manifest.snapshots[-1]
        covered = self._stats.log_bytes
        now = self._now()
        before_ms = now.wall_ms - round(self._retention.tombstone_retention_s * 1000)
        task = Task(str(self._directory.root), upto, now.running_ms, before_ms)
        made = await asyncio.to_thread(self._compactor.compact, task)
        entry = made.snapshot
        await self._switch(
            lambda present: present.with_snapshot(entry, base_seq=made.base_seq).trimmed(self._retention.snapshots_kept)
        )
        self._stats.log_bytes -= covered
        self._stats.snapshots_made += 1
        self._stats.snapshot_seconds += time.monotonic() - started
        self._set_due(self._writer.manifest)
        _log.info("snapshot at %d: %d objects, %d replies", entry.seq, entry.objects, entry.replies)
        return entry

    def _set_due(self, manifest: Manifest) -> None:
        # At least as much log as the snapshot is large: rewriting it then costs no more than the log did.
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
    """Remove the files that ``old`` names and ``new`` does not."""
    segments = [directory.segment(first) for first in set(old.segments) - set(new.segments)]
    kept = {entry.seq for entry in new.snapshots}
    snapshots = [directory.snapshot(entry.seq) for entry in old.snapshots if entry.seq not in kept]
    size = 0
    for path in (*segments, *snapshots):
        try:
            size += path.stat().st_size
            files.unlink(path)
        except OSError as error:
            # It counts for nothing any more; the next start removes it.
            _log.warning("%s could not be removed: %s", path, error)
    return Trimmed(len(segments), len(snapshots), size)
