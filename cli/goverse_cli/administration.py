"""Administration of a running server's embedded store: snapshot, trim, restore of one object, and manifest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from goverse.model.keys import ObjectKey
from goverse.ports.administration import ObjectReport, SnapshotReport, TrimReport
from goverse_node.node import Node
from goverse_node.put_back import put_back
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.history import object_at
from goverse_node.stores.wal.store import WalStore


class WalAdministration:
    """Implements ``goverse.ports.administration.Administration`` over a ``WalStore``."""

    def __init__(self, node: Node, store: WalStore, directory: Path) -> None:
        """Administer ``store``, whose files are in ``directory`` and whose objects ``node`` hosts."""
        self._node = node
        self._store = store
        self._directory = DataDirectory(directory)

    async def snapshot(self) -> SnapshotReport:
        """Write a snapshot of everything committed so far.

        Raises:
            Unavailable: the snapshot failed; the store keeps working.
        """
        made = await self._store.snapshot()
        return SnapshotReport(made.seq, made.objects, made.replies, made.size)

    async def trim(self, snapshots_kept: int) -> TrimReport:
        """Delete all but the newest ``snapshots_kept`` snapshots, and the log that only the deleted ones needed.

        Raises:
            Unavailable: a snapshot that would be kept is damaged; nothing was deleted.
        """
        removed = await self._store.trim(snapshots_kept)
        return TrimReport(removed.segments, removed.snapshots, removed.size)

    async def restore_object(self, key: ObjectKey, *, to_seq: int | None, to_time_ms: int | None) -> ObjectReport:
        """Give an object the state that it had at a position or a time, as a new version.

        Raises:
            UnknownType: the application has no such type.
            RestoreRefused: that state is no longer stored, or the object did not exist then.
            Unavailable: the store accepts no commits.
        """
        self._node.registry.type(key.type)
        find = partial(object_at, self._directory.root, key, to_seq=to_seq, to_time_ms=to_time_ms)
        past = await asyncio.to_thread(find)
        version, commit_seq = await put_back(self._node, key, past.state, past.state_version, past.creation)
        return ObjectReport(version, commit_seq, past.version, past.commit_seq)

    async def manifest(self) -> Mapping[str, Any]:
        """Return the store's identity, segments and snapshots."""
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
