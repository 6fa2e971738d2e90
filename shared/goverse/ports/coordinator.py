"""The coordinator: a small, consistent key-value store with watches and leases.

Rules that every implementation keeps (``goverse.testing.coordinator_contract`` checks them on each):

1. Every write that changes something gets a new revision, higher than all earlier ones. A key stores the revision that
   created it and the one that last wrote it. Both are 0 for a missing key, so a guard of 0 requires absence.
2. ``write`` is one transaction: it applies all changes or none, and only if every guard holds. After ``Unavailable``
   the outcome is unknown, or still pending. Read the keys to find out, and guard the retry with what was read.
3. A key is deleted with the lease that it was last written under. A lease lives at least its TTL after a refresh was
   *sent*, so a holder that counts from sending never believes in keys that are gone.
4. A watch yields every change after ``after`` exactly once, in revision order, with the changes of one write together,
   across reconnects. Where that is impossible (compaction, or another history after a restore), it yields ``Reloaded``
   with all keys and continues from there. It waits through outages and ends on ``close`` or a permanent error.
   ``new_history`` is set if the store was emptied, replaced or restored from a backup: earlier answers, including those
   about leases, then no longer apply.
5. No method takes longer than the operation timeout. ``Unavailable``: retry. ``CoordinatorError``: do not retry;
   nothing was written and an operator has to fix the cause (wrong password, value too large).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol

from goverse import limits
from goverse.errors import CoordinatorError


class KeyEntry(NamedTuple):
    """A stored key.

    Attributes:
        key: its name.
        value: its current value.
        create_revision: the write that created the key.
        mod_revision: the write that set the current value.
    """

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Guard(NamedTuple):
    """A precondition of a write: the expected revisions of ``key``. None matches any revision, 0 a missing key."""

    key: str
    create_revision: int | None = None
    mod_revision: int | None = None


class Put(NamedTuple):
    """Write ``value`` under ``key``. The key is deleted when the lease ends; lease 0 means no lease."""

    key: str
    value: bytes
    lease_id: int = 0


class Delete(NamedTuple):
    """Delete a key; no effect if it does not exist."""

    key: str


class Snapshot(NamedTuple):
    """All keys under a prefix, in key order, as of ``revision``."""

    revision: int
    entries: Sequence[KeyEntry]


class Deleted(NamedTuple):
    """A key that write ``revision`` deleted, either directly or because its lease ended."""

    key: str
    revision: int


class Changed(NamedTuple):
    """Changes in revision order; ``revision`` is that of the last one."""

    revision: int
    changes: Sequence[KeyEntry | Deleted]


class Reloaded(NamedTuple):
    """All keys as of now, sent because the changes in between are no longer available.

    Attributes:
        snapshot: all keys under the watched prefix.
        new_history: True if the store's revisions do not continue those seen before.
    """

    snapshot: Snapshot
    new_history: bool = False


class Granted(NamedTuple):
    """A new lease and its TTL as granted by the server, which may exceed the requested TTL."""

    lease_id: int
    ttl_s: float


class Coordinator(Protocol):
    """A versioned key-value store with leases and watches."""

    async def read(self, prefix: str) -> Snapshot:
        """Return all keys that begin with ``prefix``, including every write that has been acknowledged.

        Raises:
            Unavailable: no answer; retry.
        """
        ...

    async def write(self, guards: Sequence[Guard], changes: Sequence[Put | Delete]) -> int | None:
        """Apply the changes if every guard holds. Returns the new revision, or None if a guard failed or a lease ended.

        Raises:
            Unavailable: no answer; the write may have been applied.
            CoordinatorError: the same key twice, or more changes than one write may hold.
        """
        ...

    async def grant(self, ttl_s: float) -> Granted:
        """Create a lease of at least ``ttl_s`` seconds.

        Raises:
            Unavailable: no answer; retry.
        """
        ...

    async def refresh(self, lease_id: int) -> float | None:
        """Extend a lease. Returns its new TTL, or None if it has ended or belongs to an earlier history.

        Raises:
            Unavailable: no answer; retry.
        """
        ...

    async def revoke(self, lease_id: int) -> None:
        """End a lease and delete its keys; no effect if it has already ended.

        Raises:
            Unavailable: no answer; the lease will expire.
        """
        ...

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Changed | Reloaded]:
        """Yield changes to keys under ``prefix`` after revision ``after``, until ``close``.

        Raises:
            CoordinatorError: the watch was refused.
        """
        ...

    async def close(self) -> None:
        """Close all connections. Watches end and pending requests fail with ``Unavailable``; leases expire."""
        ...


def check_write(guards: Sequence[Guard], changes: Sequence[Put | Delete]) -> None:
    """Check the limits that every coordinator puts on a write.

    Raises:
        CoordinatorError: a limit is exceeded, or a key occurs twice.
    """
    compared = sum((guard.create_revision is not None) + (guard.mod_revision is not None) for guard in guards)
    if max(compared, len(changes)) > limits.COORDINATOR_CHANGES_MAX:
        raise CoordinatorError(
            f"a write may check {limits.COORDINATOR_CHANGES_MAX} revisions and change as many keys, not "
            f"{max(compared, len(changes))}"
        )
    keys = [change.key for change in changes]
    for key in keys:
        if not 0 < len(key.encode()) <= limits.COORDINATOR_KEY_BYTES_MAX:
            size = len(key.encode())
            raise CoordinatorError(f"a key must have 1 to {limits.COORDINATOR_KEY_BYTES_MAX} bytes, not {size}")
    if len(set(keys)) < len(keys):
        raise CoordinatorError("a write must not contain the same key twice")
    size = sum(len(change.value) for change in changes if isinstance(change, Put))
    if size > limits.COORDINATOR_VALUE_BYTES_MAX:
        raise CoordinatorError(f"a write may hold {limits.COORDINATOR_VALUE_BYTES_MAX} bytes of values, not {size}")
