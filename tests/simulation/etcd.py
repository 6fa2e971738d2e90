"""A simulated etcd: keys with revisions, leases, guarded writes, and watches that deliver in order or not at all.

A request may be lost, its reply may be lost, and it may be applied after its sender stopped waiting. In each of these
cases the sender receives None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from goverse.cluster.view import ClusterView
from goverse.ports.coordinator import KeyEntry
from tests.simulation.world import Process, World

NAME = "etcd"
REQUEST_TIMEOUT_S = 1.0
WATCH_RETRY_S = 0.3


@dataclass
class Kept:
    """A key's value."""

    value: bytes
    created: int
    modified: int
    lease: int | None


@dataclass
class LeaseRecord:
    """A lease and the keys that are attached to it."""

    ttl_s: float
    ends: float
    keys: set[str] = field(default_factory=set)


class Backup(NamedTuple):
    """A copy of the keys and leases."""

    revision: int
    keys: dict[str, Kept]
    leases: dict[int, LeaseRecord]


class SimulatedEtcd:
    """One etcd for the whole cluster; `stop` and `start` simulate an outage of all its members.

    Attributes:
        lag_s: the delay of a process's watch, as if its etcd member were behind the others.
        history: the number of times that etcd was emptied or restored.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.up = True
        self.revision = 1
        self.keys: dict[str, Kept] = {}
        self.lag_s: dict[str, float] = {}
        self.history = 0
        self._leases: dict[int, LeaseRecord] = {}
        self._lease_ids = 100
        self._log: list[tuple[str, KeyEntry | None, int]] = []
        self._watches: list[Watch] = []

    # --- requests of clients ------------------------------------------------------------------------------------------

    def request(self, process: Process, apply: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `apply` in etcd and pass its result to `done`, or None after a timeout."""
        answered = False
        life = process.life

        def finish(result: Any) -> None:
            nonlocal answered
            if not answered:
                answered = True
                done(result)

        def serve() -> None:
            if self.up:
                result = apply()
                self.world.send(NAME, process.name, lambda: process.take(life, lambda: finish(result)))

        self.world.send(process.name, NAME, serve)
        process.after(REQUEST_TIMEOUT_S, lambda: finish(None))

    def grant(self, ttl_s: float) -> int:
        """Create a lease and return its id."""
        self._lease_ids += 1
        self._leases[self._lease_ids] = LeaseRecord(ttl_s, 0.0)
        self.refresh(self._lease_ids)
        return self._lease_ids

    def refresh(self, lease_id: int) -> float:
        """Extend a lease and return its TTL, or 0 if it has expired."""
        lease = self._leases.get(lease_id)
        if lease is None:
            return 0.0
        lease.ends = self.world.now + lease.ttl_s
        self.world.at(lease.ends, lambda: self._expire(lease_id))
        return lease.ttl_s

    def revoke(self, lease_id: int) -> bool:
        """End a lease."""
        lease = self._leases.pop(lease_id, None)
        for key in sorted(lease.keys) if lease is not None else ():
            self._delete(key)
        self._wake()
        return True

    def write(
        self,
        key: str,
        value: bytes | None,
        *,
        lease: int | None = None,
        guards: dict[str, tuple[str, int]] | None = None,
    ) -> int:
        """Put or delete `key` if all guards hold; return the revision, or 0.

        A guard is, per key, ("mod" | "create", revision); revision 0: the key must not exist.
        """
        for guarded, (what, revision) in (guards or {}).items():
            kept = self.keys.get(guarded)
            found = 0 if kept is None else kept.modified if what == "mod" else kept.created
            if found != revision:
                return 0
        if lease is not None and lease not in self._leases:
            return 0
        if value is None:
            self._delete(key)
        else:
            self._put(key, value, lease)
        self._wake()
        return self.revision

    def _put(self, key: str, value: bytes, lease: int | None) -> None:
        self.revision += 1
        kept = self.keys.get(key)
        if kept is not None and kept.lease is not None and kept.lease in self._leases:
            self._leases[kept.lease].keys.discard(key)
        created = kept.created if kept is not None else self.revision
        self.keys[key] = Kept(value, created, self.revision, lease)
        if lease is not None:
            self._leases[lease].keys.add(key)
        self._log.append((key, KeyEntry(key, value, created, self.revision), self.revision))

    def _delete(self, key: str) -> None:
        if self.keys.pop(key, None) is not None:
            self.revision += 1
            self._log.append((key, None, self.revision))

    def _expire(self, lease_id: int) -> None:
        lease = self._leases.get(lease_id)
        if self.up and lease is not None and lease.ends <= self.world.now:
            self.world.note(f"etcd: lease {lease_id} expires: {sorted(lease.keys)}")
            self.revoke(lease_id)

    # --- outage and watches -------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop answering requests."""
        self.up = False

    def start(self) -> None:
        """Answer again. Like the real etcd, extend every lease to its full TTL."""
        self.up = True
        for lease_id in list(self._leases):
            self.refresh(lease_id)
        self._wake()

    def backup(self) -> Backup:
        """Return a copy of everything."""
        leases = {lease_id: LeaseRecord(lease.ttl_s, 0.0, set(lease.keys)) for lease_id, lease in self._leases.items()}
        return Backup(self.revision, {key: replace(kept) for key, kept in self.keys.items()}, leases)

    def restore(self, backup: Backup | None) -> None:
        """Replace the content by a backup, or by nothing. As in the real etcd, restored leases get their full TTL."""
        backup = backup or Backup(1, {}, {})
        self.history += 1
        self.revision = backup.revision
        self.keys = {key: replace(kept) for key, kept in backup.keys.items()}
        self._leases = {lease_id: replace(lease, keys=set(lease.keys)) for lease_id, lease in backup.leases.items()}
        self._log.clear()
        for lease_id in list(self._leases):
            self.refresh(lease_id)
        self._wake()

    def watch(self, process: Process, view: ClusterView, changed: Callable[[], None]) -> None:
        """Keep `view` up to date until `process` crashes."""
        self._watches = [watch for watch in self._watches if watch.lives()]
        watch = Watch(self, process, view, changed)
        self._watches.append(watch)
        watch.poll()

    def _wake(self) -> None:
        for watch in self._watches:
            watch.wake()

    def entries(self) -> list[KeyEntry]:
        """Return all keys."""
        return [KeyEntry(key, kept.value, kept.created, kept.modified) for key, kept in self.keys.items()]

    def log_from(self, cursor: int) -> list[tuple[str, KeyEntry | None, int]]:
        """Return the changes after `cursor`."""
        return self._log[cursor:]

    def log_end(self) -> int:
        """Return the cursor of the next change."""
        return len(self._log)


class Watch:
    """The stream of changes to one process. It reconnects by itself, and may find the log compacted."""

    def __init__(self, etcd: SimulatedEtcd, process: Process, view: ClusterView, changed: Callable[[], None]) -> None:
        self._etcd = etcd
        self._process = process
        self._life = process.life
        self._view = view
        self._changed = changed
        self._cursor = -1
        self._history = etcd.history

    def lives(self) -> bool:
        """True while the process has not crashed or restarted since it began to watch."""
        return self._process.alive and self._process.life == self._life

    def poll(self) -> None:
        """Send what the process missed while the stream was broken, again and again."""
        self.wake()
        self._process.after(WATCH_RETRY_S, self.poll)

    def wake(self) -> None:
        """Send the changes since the last delivery, or all keys if the history was replaced or compacted."""
        etcd, world = self._etcd, self._etcd.world
        replaced = self._history != etcd.history
        if not etcd.up or not self.lives() or (self._cursor >= etcd.log_end() and not replaced):
            return
        end = etcd.log_end()
        if replaced or self._cursor < 0 or (end - self._cursor > 20 and world.random.random() < 0.3):
            entries, revision, history = etcd.entries(), etcd.revision, etcd.history
            self._send(lambda: self._reload(entries, revision, history, end))
        else:
            begin, history = self._cursor, self._history
            batch = etcd.log_from(begin)
            self._send(lambda: self._apply(batch, begin, history))

    def _send(self, deliver: Callable[[], None]) -> None:
        process, life, etcd = self._process, self._life, self._etcd

        def send() -> None:
            etcd.world.send(NAME, process.name, lambda: process.take(life, deliver))

        lag_s = etcd.lag_s.get(process.name, 0.0)
        if lag_s:
            etcd.world.after(lag_s, send)
        else:
            send()

    def _reload(self, entries: list[KeyEntry], revision: int, history: int, end: int) -> None:
        if history > self._history or (history == self._history and end > self._cursor):
            begins, self._history = history > self._history, history
            self._cursor = end
            self._view.reload(entries, revision, new_history=begins)
            self._changed()

    def _apply(self, batch: list[tuple[str, KeyEntry | None, int]], begin: int, history: int) -> None:
        news = batch[self._cursor - begin :] if begin <= self._cursor and history == self._history else []
        for key, entry, revision in news:
            if entry is None:
                self._view.delete(key, revision)
            else:
                self._view.put(entry)
        if news:
            self._cursor += len(news)
            self._changed()
