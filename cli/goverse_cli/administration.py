"""What operators ask of a running server's embedded store, in the words of the administration port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goverse.ports.administration import SnapshotReport, TrimReport
from goverse_node.stores.wal.directory import DataDirectory
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
        made = await self._store.snapshot()
        return SnapshotReport(made.seq, made.objects, made.replies, made.size)

    async def trim(self, snapshots_kept: int) -> TrimReport:
        """Remove all but the newest snapshots, and the log that only the removed ones needed.

        Raises:
            Unavailable: a snapshot that would stay is damaged; nothing was removed.
        """
        removed = await self._store.trim(snapshots_kept)
        return TrimReport(removed.segments, removed.snapshots, removed.size)

    async def manifest(self) -> Mapping[str, Any]:
        """Return what the store consists of."""
        return await asyncio.to_thread(self._describe)

    def _describe(self) -> dict[str, Any]:
        manifest = self._directory.read_manifest()
        return {
            "store_id": manifest.origin.store_id,
            "generation": manifest.origin.generation,
            "created_ms": manifest.created_ms,
            "segments": [
                {"name": self._directory.segment(first).name, "first_seq": str(first)} for first in manifest.segments
            ],
            "snapshots": [
                {
                    "name": self._directory.snapshot(entry.seq).name,
                    "commit_seq": str(entry.seq),
                    "objects": entry.objects,
                    "replies": entry.replies,
                    "bytes": entry.size,
                    "last_ms": entry.last_ms,
                }
                for entry in manifest.snapshots
            ],
        }
