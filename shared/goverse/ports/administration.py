"""What an operator can ask of a running store, whatever the store is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class SnapshotReport(NamedTuple):
    """A snapshot that is complete and durable.

    Attributes:
        name: how the store calls it.
        commit_seq: the position that it reflects.
        objects: how many living objects it holds.
        size_bytes: its size.
    """

    name: str
    commit_seq: int
    objects: int
    size_bytes: int


class TrimReport(NamedTuple):
    """What a trim removed, or would remove.

    Attributes:
        removed: names of what is no longer needed.
        freed_bytes: their size together.
        oldest_seq: the oldest position that can still be restored.
        dry_run: nothing was removed yet.
    """

    removed: tuple[str, ...]
    freed_bytes: int
    oldest_seq: int
    dry_run: bool


class Administration(Protocol):
    """Administration of a store while it serves."""

    async def snapshot(self) -> SnapshotReport:
        """Write a snapshot now.

        Raises:
            GoverseError: it could not be written; what was there before is as it was.
        """
        ...

    async def trim(self, *, before_seq: int | None, dry_run: bool) -> TrimReport:
        """Remove what recovery no longer needs; with ``before_seq`` only what is older than that position.

        Raises:
            GoverseError: it would take away what recovery needs.
        """
        ...

    async def manifest(self) -> Mapping[str, Any]:
        """Return what the store consists of, as JSON values."""
        ...
