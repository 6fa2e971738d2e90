"""Keys, leases and their history in memory, shared by all ``MemoryCoordinator`` instances.

No method blocks. Leases expire by the given clock: at the next request, when ``expire`` is called, and, if an event
loop is running, by a timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import NamedTuple

from goverse.ports.clock import Clock
from goverse.ports.coordinator import (
    Changed,
    Delete,
    Deleted,
    Granted,
    Guard,
    KeyEntry,
    Put,
    Snapshot,
    check_write,
)

Waker = Callable[[], None]


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    ends: float
    keys: set[str] = field(default_factory=set[str])


class Backup(NamedTuple):
    """A copy of all keys, and of all leases with their TTL and keys."""

    revision: int
    entries: Mapping[str, KeyEntry]
    leases: Mapping[int, tuple[float, frozenset[str]]]


class MemoryKeys:
    """The shared key-value store.

    Attributes:
        context: the context of the store's own work, which no client's pause or end holds up in a simulation.
        up: False while the store is stopped. Leases do not expire then and get their full TTL on ``start``, as in etcd.
        revision: the revision of the last write.
        history: how many times the store was emptied or restored.
    """

    def __init__(self, clock: Clock) -> None:
        self.up = True
        self.revision = 1
        self.history = 0
        self._clock = clock
        self._entries: dict[str, KeyEntry] = {}
        self._leases: dict[int, _Lease] = {}
        self._leases_granted = 0
        self._history: list[Changed] = []
        self._compacted = 1
        self._wakers: list[Waker] = []
        self._timer: asyncio.TimerHandle | None = None
        self.context = copy_context()

    # --- requests -----------------------------------------------------------------------------------------------------

    def read(self, prefix: str) -> Snapshot:
        """Return all keys that begin with ``prefix``."""
        self.expire()
        names = sorted((name for name in self._entries if name.startswith(prefix)), key=_order)
        return Snapshot(self.revision, [self._entries[name] for name in names])

    def write(self, guards: Sequence[Guard], changes: Sequence[Put | Delete]) -> int | None:
        """Apply the changes if every guard holds and every lease is alive.

        Raises:
            CoordinatorError: the write exceeds a limit of the port.
        """
        check_write(guards, changes)
        self.expire()
        if not all(map(self._holds, guards)):
            return None
        if any(isinstance(change, Put) and change.lease_id not in (0, *self._leases) for change in changes):
            return None
        self._commit(changes)
        return self.revision

    def grant(self, ttl_s: float) -> Granted:
        self.expire()
        self._leases_granted += 1
        self._leases[self._leases_granted] = _Lease(ttl_s, self._clock.monotonic() + ttl_s)
        self._arm()
        return Granted(self._leases_granted, ttl_s)

    def refresh(self, lease_id: int) -> float | None:
        """Extend a lease; returns None if it has ended."""
        self.expire()
        lease = self._leases.get(lease_id)
        if lease is None:
            return None
        lease.ends = self._clock.monotonic() + lease.ttl_s
        self._arm()
        return lease.ttl_s

    def revoke(self, lease_id: int) -> None:
        self.expire()
        self._end(lease_id)

    def changes(self, prefix: str, after: int) -> Changed | None:
        """Return the changes under ``prefix`` after ``after``, or None if that part of the history was compacted."""
        self.expire()
        if not self._compacted <= after + 1 <= self.revision + 1:
            return None
        behind = [write for write in self._later(after) if write.revision > after]
        news = [change for write in behind for change in write.changes if change.key.startswith(prefix)]
        return Changed(behind[-1].revision if behind else after, news)

    def _later(self, after: int) -> Iterator[Changed]:
        """Return the writes after ``after``. Watches are nearly current, so the search starts at the end."""
        index = len(self._history)
        while index and self._history[index - 1].revision > after:
            index -= 1
        return iter(self._history[index:])

    # --- controls for tests and simulations ---------------------------------------------------------------------------

    def compact(self) -> None:
        """Discard the history."""
        self._history.clear()
        self._compacted = self.revision + 1

    def stop(self) -> None:
        """Stop serving requests."""
        self.expire()
        self.up = False

    def start(self) -> None:
        """Serve again; every lease gets its full TTL."""
        self.up = True
        for lease in self._leases.values():
            lease.ends = self._clock.monotonic() + lease.ttl_s
        self._arm()
        self._wake()

    def backup(self) -> Backup:
        """Return a copy of the keys and leases, like ``etcdctl snapshot save``."""
        self.expire()
        leases = {lease_id: (lease.ttl_s, frozenset(lease.keys)) for lease_id, lease in self._leases.items()}
        return Backup(self.revision, dict(self._entries), leases)

    def restore(self, backup: Backup | None) -> None:
        """Continue from ``backup``, or empty. Restored leases get their full TTL, as in etcd."""
        backup = backup or Backup(1, {}, {})
        now = self._clock.monotonic()
        self.history += 1
        self.revision, self._entries = backup.revision, dict(backup.entries)
        self._leases = {
            lease_id: _Lease(ttl_s, now + ttl_s, set(keys)) for lease_id, (ttl_s, keys) in backup.leases.items()
        }
        self.compact()
        self._arm()
        self._wake()

    def expire(self) -> None:
        """End the leases whose TTL has passed."""
        if self.up:
            now = self._clock.monotonic()
            over = sorted((lease.ends, lease_id) for lease_id, lease in self._leases.items() if lease.ends <= now)
            for _, lease_id in over:
                self._end(lease_id)

    def subscribe(self, waker: Waker) -> None:
        """Call ``waker`` after every change."""
        self._wakers.append(waker)

    def unsubscribe(self, waker: Waker) -> None:
        """Stop calling ``waker``."""
        self._wakers.remove(waker)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _holds(self, guard: Guard) -> bool:
        entry = self._entries.get(guard.key)
        created, modified = (entry.create_revision, entry.mod_revision) if entry else (0, 0)
        return guard.create_revision in (None, created) and guard.mod_revision in (None, modified)

    def _commit(self, changes: Sequence[Put | Delete]) -> None:
        revision = self.revision + 1
        done: list[KeyEntry | Deleted] = []
        for change in changes:
            before = self._entries.pop(change.key, None)
            for lease in self._leases.values():
                lease.keys.discard(change.key)
            if isinstance(change, Put):
                entry = KeyEntry(change.key, change.value, before.create_revision if before else revision, revision)
                self._entries[change.key] = entry
                if change.lease_id:
                    self._leases[change.lease_id].keys.add(change.key)
                done.append(entry)
            elif before is not None:
                done.append(Deleted(change.key, revision))
        if done:
            self.revision = revision
            self._history.append(Changed(revision, done))
            self._wake()

    def _end(self, lease_id: int) -> None:
        lease = self._leases.pop(lease_id, None)
        if lease is not None:
            self._commit([Delete(key) for key in sorted(lease.keys, key=_order)])

    def _wake(self) -> None:
        for waker in tuple(self._wakers):
            waker()

    def _arm(self) -> None:
        """Set a timer for the next lease that expires."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._leases or not self.up:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no event loop is running: the owner of the clock calls `expire`
            return
        left_s = min(lease.ends for lease in self._leases.values()) - self._clock.monotonic()
        self._timer = loop.call_later(max(left_s, 0.0), self._ring, context=self.context)

    def _ring(self) -> None:
        self._timer = None
        self.expire()
        self._arm()


def _order(key: str) -> bytes:
    return key.encode()
