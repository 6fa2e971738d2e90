"""The coordinator: a small, consistent store of keys that tells everybody what changed, and forgets who died.

Rules that every implementation keeps:

1. Every write gets a revision of its own, larger than all before. A key knows the revision that created it and the one
   that wrote it last; both are 0 for a key that is not there.
2. ``write`` is one transaction: all changes or none, only if every guard holds. An error says nothing about whether it
   was carried out, unless it says so; reading tells.
3. A key that was put under a lease goes when the lease ends. A lease ends ``ttl_s`` after its last refresh was answered, or
   later, never earlier; whoever holds it counts from when it *sent* the refresh.
4. A watch yields every change behind ``after`` once, in the order of the revisions, over all reconnects. Where changes
   were compacted away it yields ``Reloaded`` with everything that is there, and goes on from it. It ends only with an
   error that is no matter of time (wrong password), never in silence.
5. No method waits longer than the operation timeout; ``Unavailable`` means: try again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol


class KeyEntry(NamedTuple):
    """A key as it is.

    Attributes:
        key: its name.
        value: what was put.
        create_revision: the write that created it.
        mod_revision: the write that put this value.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Guard(NamedTuple):
    """What must hold for a write: the revisions of ``key``; None where any will do, 0 where it must not be there."""

    key: str
    create_revision: int | None = None
    mod_revision: int | None = None


class Put(NamedTuple):
    """Write ``value``; the key goes with the lease, 0 is no lease."""

    key: str
    value: bytes
    lease_id: int = 0


class Delete(NamedTuple):
    """Remove a key; without effect where it is not there."""

    key: str


class Snapshot(NamedTuple):
    """All keys under a prefix, in their order, as of ``revision``."""

    revision: int
    entries: Sequence[KeyEntry]


class Deleted(NamedTuple):
    """A key that went, by a write or with its lease, in the write ``revision``."""

    key: str
    revision: int


class Changed(NamedTuple):
    """Changes in their order; ``revision`` is the newest of them."""

    revision: int
    changes: Sequence[KeyEntry | Deleted]


class Reloaded(NamedTuple):
    """Changes were lost to compaction: this is what is there now."""

    snapshot: Snapshot


class Granted(NamedTuple):
    """A lease, and the time that the server gives it in seconds, which may be longer than was asked for."""

    lease_id: int
    ttl_s: float


class Coordinator(Protocol):
    """Versioned keys with leases and watches."""

    async def read(self, prefix: str) -> Snapshot:
        """Return all keys that begin with ``prefix``, consistent with every write that was answered before.

        Raises:
            Unavailable: no answer; try again.
        """
        ...

    async def write(self, guards: Sequence[Guard], changes: Sequence[Put | Delete]) -> int | None:
        """Make the changes if every guard holds; return the revision, or None where one did not.

        Raises:
            Unavailable: no answer; it may have been carried out.
        """
        ...

    async def grant(self, ttl_s: float) -> Granted:
        """Begin a lease.

        Raises:
            Unavailable: no answer; try again.
        """
        ...

    async def refresh(self, lease_id: int) -> float | None:
        """Extend a lease; return for how many seconds, or None where it has ended.

        Raises:
            Unavailable: no answer; try again.
        """
        ...

    async def revoke(self, lease_id: int) -> None:
        """End a lease now, and with it its keys; without effect where it has ended.

        Raises:
            Unavailable: no answer; it will end by itself.
        """
        ...

    def watch(self, prefix: str, after: int) -> AsyncIterator[Changed | Reloaded]:
        """Yield the changes to keys that begin with ``prefix`` behind revision ``after``, for ever."""
        ...

    async def close(self) -> None:
        """Let go of connections; watches end. Leases run out by themselves."""
        ...
