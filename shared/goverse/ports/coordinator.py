"""The coordinator: a small, consistent store of keys that tells everybody what changed, and forgets who died.

Rules that every implementation keeps (``goverse.testing.coordinator_contract`` checks them on each):

1. A write that changes anything gets a revision of its own, larger than all before. A key knows the revision that
   created it and the one that wrote it last; a key that is not there has 0 for both, so a guard of 0 asks for absence.
2. ``write`` is one transaction: all changes or none, only if every guard holds. After ``Unavailable`` it may have been
   carried out, or still be: reading tells, and a guard on what was read makes a second attempt safe.
3. A key goes with the lease that it was put under last. A lease lives at least its time after a refresh was *sent*, so
   whoever holds it counts from that moment and is never wrong about its keys being there.
4. A watch yields every change behind ``after`` once, in order of the revisions, those of one write together, over all
   reconnects. Where that cannot be (compaction, another history after a restore) it yields ``Reloaded`` with all that
   is there and goes on from it. It waits through any outage, and ends with ``close`` or an error that stays.
   ``new_history`` is set if the store was emptied, replaced or restored from a backup: what it answered before, also
   about leases, then says nothing about what is there now.
5. No method waits longer than the operation timeout. ``Unavailable``: try again. ``CoordinatorError``: do not; nothing
   was carried out, and somebody has to look (a wrong password, a value too large).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol

from goverse import limits
from goverse.errors import CoordinatorError


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
    """The changes in between are lost. ``snapshot`` is what is there now.

    Attributes:
        snapshot: all keys under the watched prefix.
        new_history: the store's revisions are not a continuation of those that were seen.
    """

    snapshot: Snapshot
    new_history: bool = False


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
        """Make the changes if every guard holds; return the store's revision with them, or None where a guard did not
        hold or a lease has ended.

        Raises:
            Unavailable: no answer; it may have been carried out.
            CoordinatorError: a key twice, or more than one write may hold.
        """
        ...

    async def grant(self, ttl_s: float) -> Granted:
        """Begin a lease of at least ``ttl_s`` seconds.

        Raises:
            Unavailable: no answer; try again.
        """
        ...

    async def refresh(self, lease_id: int) -> float | None:
        """Extend a lease; return for how many seconds, or None where it has ended or belongs to an earlier history.

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

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Changed | Reloaded]:
        """Yield the changes to keys that begin with ``prefix`` behind revision ``after``, until ``close``.

        Raises:
            CoordinatorError: the watch is refused.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; watches end, whatever waits gets ``Unavailable``. Leases run out by themselves."""
        ...


def check_write(guards: Sequence[Guard], changes: Sequence[Put | Delete]) -> None:
    """Check that a write is one that every coordinator takes.

    Raises:
        CoordinatorError: it is not.
    """
    compared = sum((guard.create_revision is not None) + (guard.mod_revision is not None) for guard in guards)
    if max(compared, len(changes)) > limits.COORDINATOR_CHANGES_MAX:
        raise CoordinatorError(
            f"a write compares at most {limits.COORDINATOR_CHANGES_MAX} revisions and changes as many keys"
        )
    keys = [change.key for change in changes]
    for key in keys:
        if not 0 < len(key.encode()) <= limits.COORDINATOR_KEY_BYTES_MAX:
            raise CoordinatorError(f"a key has 1 to {limits.COORDINATOR_KEY_BYTES_MAX} bytes, not {len(key.encode())}")
    if len(set(keys)) < len(keys):
        raise CoordinatorError("a write changes each key once")
    size = sum(len(change.value) for change in changes if isinstance(change, Put))
    if size > limits.COORDINATOR_VALUE_BYTES_MAX:
        raise CoordinatorError(f"the values of a write have {limits.COORDINATOR_VALUE_BYTES_MAX} bytes at most: {size}")
