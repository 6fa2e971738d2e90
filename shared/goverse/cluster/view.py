"""A process's view of its cluster: all etcd keys of the cluster, decoded, as of one revision.

Rules:

1. Changes of all kinds of keys arrive in revision order, because one watch covers the cluster's prefix. A process that
   sees the targets of a revision has therefore seen every claim written before them.
2. An unreadable value is treated as not written: the previous value stays, and ``faults`` records the reason. A write
   guarded by the last readable targets then fails. Damaged targets (not those of a newer release) count as targets
   without any owner: owners keep serving their shards, and the leader writes new targets.
3. The view holds states, not events. A follower compares it with what it did last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from goverse.cluster.claims import Claims
from goverse.cluster.keys import KeyKind, KeyLayout, ParsedKey
from goverse.cluster.member import Load, Member
from goverse.cluster.shard_count import ShardCount
from goverse.cluster.targets import Targets
from goverse.errors import DataDamaged, DataNewer
from goverse.model.catalog import Catalog, decode_catalog
from goverse.ports.coordinator import KeyEntry


class Leadership(NamedTuple):
    """The leader key's value, and the revision that created it."""

    value: bytes
    create_revision: int


class ClusterView:
    """The cluster as seen by one process. Mappings are keyed by id.

    Attributes:
        revision: the newest revision included in the view.
        nodes: registered nodes.
        gates: registered gates.
        claims: the claims of each node.
        targets: the intended owners; None before the first plan.
        targets_revision: the revision that wrote them; 0 without targets.
        pins: the node of each pinned shard.
        drains: nodes that an operator is draining.
        loads: the load figures of each node.
        catalogs: the object types that each node serves.
        leader: the leader key, or None.
        shard_count: the number of shards; None until it was written.
        base: the number of shards that the cluster was created with; None until a node has written it.
        faults: the reason for each key whose value is unreadable.
        members_revision: the newest revision of any node's registration.
        intents_revision: the newest revision of any pin or drain.
        reloads: how many times the whole view was replaced. After a reload, the same revision may have other contents.
        histories: how many times etcd was found emptied, replaced or restored. Earlier revisions and leases are
            meaningless after that.
        claims_revision: the newest revision of any node's claims.
        catalogs_revision: the newest revision of any node's catalog.
    """

    def __init__(self, layout: KeyLayout) -> None:
        self.layout = layout
        self.revision = 0
        self.members_revision = 0
        self.intents_revision = 0
        self.reloads = 0
        self.histories = 0
        self.claims_revision = 0
        self.catalogs_revision = 0
        self.faults: dict[str, str] = {}
        self._revisions: dict[str, int] = {}
        self._clear()

    def _clear(self) -> None:
        self.nodes: dict[str, Member] = {}
        self.gates: dict[str, Member] = {}
        self.claims: dict[str, Claims] = {}
        self.targets: Targets | None = None
        self.targets_revision = 0
        self.pins: dict[int, str] = {}
        self.drains: set[str] = set()
        self.loads: dict[str, Load] = {}
        self.catalogs: dict[str, Catalog] = {}
        self.leader: Leadership | None = None
        self.shard_count: int | None = None
        self.base: int | None = None

    def revision_of(self, key: str) -> int:
        """Return the revision that last wrote ``key``; 0 if it does not exist."""
        return self._revisions.get(key, 0)

    def reload(self, entries: Iterable[KeyEntry], revision: int, *, new_history: bool = False) -> None:
        """Replace the whole view with the keys as of ``revision``: at start, after a compaction, in a new history."""
        self._clear()
        self._revisions.clear()
        self.faults.clear()
        self.revision = self.members_revision = self.intents_revision = revision
        self.claims_revision = self.catalogs_revision = revision
        self.reloads += 1
        self.histories += new_history
        for entry in entries:
            self.put(entry)

    def put(self, entry: KeyEntry) -> None:
        """Apply a write."""
        self.revision = max(self.revision, entry.mod_revision)
        parsed = self.layout.parse(entry.key)
        if parsed is None:
            return
        self._revisions[entry.key] = entry.mod_revision
        try:
            self._read(parsed, entry)
        except (DataDamaged, DataNewer) as error:
            self.faults[entry.key] = error.detail
            if parsed.kind is KeyKind.TARGETS and isinstance(error, DataDamaged):
                self.targets, self.targets_revision = None, entry.mod_revision
        else:
            self.faults.pop(entry.key, None)
        self._note(parsed, entry.mod_revision)

    def delete(self, key: str, revision: int) -> None:
        """Apply a deletion."""
        self.revision = max(self.revision, revision)
        parsed = self.layout.parse(key)
        if parsed is None:
            return
        self._revisions.pop(key, None)
        self.faults.pop(key, None)
        self._note(parsed, revision)
        kind, name = parsed
        if kind is KeyKind.SHARDS:
            self.shard_count = self.base = None
        elif kind is KeyKind.LEADER:
            self.leader = None
        elif kind is KeyKind.TARGETS:
            self.targets = None
            self.targets_revision = 0
        elif kind is KeyKind.PIN:
            self.pins.pop(int(name), None)
        elif kind is KeyKind.DRAIN:
            self.drains.discard(name)
        elif kind is KeyKind.NODE:
            self.nodes.pop(name, None)
        elif kind is KeyKind.GATE:
            self.gates.pop(name, None)
        elif kind is KeyKind.CLAIMS:
            self.claims.pop(name, None)
        elif kind is KeyKind.LOAD:
            self.loads.pop(name, None)
        elif kind is KeyKind.CATALOG:
            self.catalogs.pop(name, None)

    def _note(self, parsed: ParsedKey, revision: int) -> None:
        if parsed.kind is KeyKind.NODE:
            self.members_revision = revision
        elif parsed.kind in (KeyKind.PIN, KeyKind.DRAIN):
            self.intents_revision = revision
        elif parsed.kind is KeyKind.CLAIMS:
            self.claims_revision = revision
        elif parsed.kind is KeyKind.CATALOG:
            self.catalogs_revision = revision

    def _read(self, parsed: ParsedKey, entry: KeyEntry) -> None:
        kind, name = parsed
        if kind is KeyKind.SHARDS:
            found = ShardCount.decode(entry.value)
            self.shard_count, self.base = found.count, found.base
        elif kind is KeyKind.NODE:
            self.nodes[name] = _named(Member.decode(entry.value), name)
        elif kind is KeyKind.GATE:
            self.gates[name] = _named(Member.decode(entry.value), name)
        elif kind is KeyKind.CLAIMS:
            self.claims[name] = Claims.decode(entry.value)
        elif kind is KeyKind.LEADER:
            self.leader = Leadership(entry.value, entry.create_revision)
        elif kind is KeyKind.TARGETS:
            self.targets = Targets.decode(entry.value)
            self.targets_revision = entry.mod_revision
        elif kind is KeyKind.PIN:
            self.pins[int(name)] = _node_id(entry.value)
        elif kind is KeyKind.DRAIN:
            self.drains.add(name)
        elif kind is KeyKind.CATALOG:
            self.catalogs[name] = decode_catalog(entry.value)
        else:
            self.loads[name] = Load.decode(entry.value)


def _node_id(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DataDamaged("a pin does not name a node") from error


def _named(member: Member, name: str) -> Member:
    if member.id != name:
        raise DataDamaged(f"a member with the id {member.id!r} is registered as {name!r}")
    return member
