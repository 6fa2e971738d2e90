"""Operator commands on a running store, independent of the kind of store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from goverse.model.keys import ObjectKey


class SnapshotReport(NamedTuple):
    """A completed, durable snapshot.

    Attributes:
        commit_seq: the position up to which the snapshot is complete.
        objects: number of objects in it.
        replies: number of stored replies (of calls with an idempotency key) in it.
        size_bytes: its size.
    """

    commit_seq: int
    objects: int
    replies: int
    size_bytes: int


class TrimReport(NamedTuple):
    """The files that a trim removed.

    Attributes:
        segments: number of log files.
        snapshots: number of snapshots.
        size_bytes: their total size.
    """

    segments: int
    snapshots: int
    size_bytes: int


class ObjectReport(NamedTuple):
    """The result of restoring one object to an earlier state.

    Attributes:
        version: the object's version after the restore.
        commit_seq: the position of that version.
        from_version: the version whose state was restored.
        from_commit_seq: the position of that earlier version.
    """

    version: int
    commit_seq: int
    from_version: int
    from_commit_seq: int


class Administration(Protocol):
    """Operator commands on a store that keeps serving."""

    async def snapshot(self) -> SnapshotReport:
        """Write a snapshot now.

        Raises:
            GoverseError: the snapshot could not be written; existing snapshots are unchanged.
        """
        ...

    async def trim(self, snapshots_kept: int) -> TrimReport:
        """Remove all but the newest ``snapshots_kept`` snapshots, and the log that only the removed ones needed.

        Raises:
            GoverseError: the trim would remove data that recovery needs.
        """
        ...

    async def restore_object(self, key: ObjectKey, *, to_seq: int | None, to_time_ms: int | None) -> ObjectReport:
        """Restore an object's state as of a position or a time; the restored state becomes a new version.

        Raises:
            GoverseError: that state is no longer kept, or the new version could not be committed.
        """
        ...

    async def manifest(self) -> Mapping[str, Any]:
        """Return a description of the store's contents as JSON values."""
        ...
