"""Administration of an embedded store in the words of the administration port: while it serves, and at rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goverse.ports.administration import SnapshotReport, TrimReport
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.manifest import Manifest, SnapshotEntry
from goverse_node.stores.wal.store import WalStore


class WalAdministration:
    """Implements ``goverse.ports.administration.Administration`` over a ``WalStore``."""

    def __init__(self, store: WalStore, directory: Path) -> None:
        """Administer ``store``, whose files are in ``directory``."""
        self._store = store
        self._directory = DataDirectory(directory)

    async def snapshot(self) -> SnapshotReport:
        """Write a snapshot of everything committed so far.

        Raises:
            Unavailable: it failed; the store goes on.
        """
        return snapshot_report(self._directory, await self._store.snapshot())

    async def trim(self, *, before_seq: int | None, dry_run: bool) -> TrimReport:
        """Remove old snapshots and the log that only they need; positions from ``before_seq`` on stay restorable.

        Raises:
            Unavailable: a snapshot that would stay is damaged; nothing was removed.
        """
        plan = await asyncio.to_thread(TrimPlan, self._directory, before_seq)
        if dry_run:
            return plan.report(plan.new, dry_run=True)
        await self._store.trim(plan.snapshots_kept)
        return plan.report(await asyncio.to_thread(self._directory.read_manifest), dry_run=False)

    async def manifest(self) -> Mapping[str, Any]:
        """Return what the store consists of."""
        return await asyncio.to_thread(describe_files, self._directory)


class TrimPlan:
    """What a trim would remove; made before, because afterwards nobody knows the sizes any more."""

    def __init__(self, directory: DataDirectory, before_seq: int | None) -> None:
        """Keep all snapshots that positions from ``before_seq`` on need, or only the newest one."""
        old = directory.read_manifest()
        newer = sum(before_seq is not None and entry.seq > before_seq for entry in old.snapshots)
        reaches = before_seq is not None and any(entry.seq <= before_seq for entry in old.snapshots)
        self.snapshots_kept = max(1, newer + reaches)
        self.new = old.trimmed(self.snapshots_kept)
        self._directory = directory
        self._sizes = {path.name: path.stat().st_size for path in _files(directory, old) if path.exists()}

    def report(self, new: Manifest, *, dry_run: bool) -> TrimReport:
        """Return what is no longer there in ``new``."""
        kept = {path.name for path in _files(self._directory, new)}
        removed = tuple(name for name in self._sizes if name not in kept)
        return TrimReport(removed, sum(self._sizes[name] for name in removed), _oldest_seq(new), dry_run)


def snapshot_report(directory: DataDirectory, made: SnapshotEntry) -> SnapshotReport:
    """Return a store's word on a snapshot in the port's words."""
    return SnapshotReport(directory.snapshot(made.seq).name, made.seq, made.objects, made.size)


def describe_files(directory: DataDirectory) -> dict[str, Any]:
    """Return the manifest as JSON values."""
    manifest = directory.read_manifest()
    return {
        "store_id": manifest.origin.store_id,
        "generation": manifest.origin.generation,
        "created_ms": manifest.created_ms,
        "oldest_seq": str(_oldest_seq(manifest)),
        "segments": [{"name": directory.segment(first).name, "first_seq": str(first)} for first in manifest.segments],
        "snapshots": [
            {
                "name": directory.snapshot(entry.seq).name,
                "commit_seq": str(entry.seq),
                "objects": entry.objects,
                "replies": entry.replies,
                "size_bytes": entry.size,
                "last_ms": entry.last_ms,
            }
            for entry in manifest.snapshots
        ],
    }


def _files(directory: DataDirectory, manifest: Manifest) -> list[Path]:
    segments = [directory.segment(first) for first in manifest.segments]
    return segments + [directory.snapshot(entry.seq) for entry in manifest.snapshots]


def _oldest_seq(manifest: Manifest) -> int:
    """Return the oldest position that can be restored; a log that begins at 1 holds them all."""
    if manifest.segments[0] == 1 or not manifest.snapshots:
        return manifest.segments[0] - 1
    return manifest.snapshots[0].seq
