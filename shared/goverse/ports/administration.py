"""What an operator can ask of a running store, whatever the store is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from goverse.model.keys import ObjectKey


class SnapshotReport(NamedTuple):
    """A snapshot that is complete and durable.

    Attributes:
        commit_seq: the position that it reflects.
        objects: how many objects it holds.
        replies: how many replies under idempotency keys it holds.
        size_bytes: its size.
    """

    commit_seq: int
    objects: int
    replies: int
    size_bytes: int


class TrimReport(NamedTuple):
    """What a trim removed.

    Attributes:
        segments: how many files of the log.
        snapshots: how many snapshots.
        size_bytes: their size together.
    """

    segments: int
    snapshots: int
    size_bytes: int


class ObjectReport(NamedTuple):
    """An object that was given an earlier state.

    Attributes:
        version: the version that it has now.
        commit_seq: the position of that version.
        from_version: the version whose state it has.
        from_commit_seq: the position of that one.
    """

    version: int
    commit_seq: int
    from_version: int
    from_commit_seq: int


class Administration(Protocol):
    """Administration of a store while it serves."""

    async def snapshot(self) -> SnapshotReport:
        """Write a snapshot now.

        Raises:
            GoverseError: it could not be written; what was there before is as it was.
        """
        ...

    async def trim(self, snapshots_kept: int) -> TrimReport:
        """Remove all but the newest snapshots, and the log that only the removed ones needed.

        Raises:
            GoverseError: it would take away what recovery needs.
        """
        ...

    async def restore_object(self, key: ObjectKey, *, to_seq: int | None, to_time_ms: int | None) -> ObjectReport:
        """Give an object the state that it had at a position or a time, as a new version.

        Raises:
            GoverseError: that state is not kept any more, or could not be committed.
        """
        ...

    async def manifest(self) -> Mapping[str, Any]:
        """Return what the store consists of, as JSON values."""
        ...
