"""What a process has seen of etcd: every key of the cluster, decoded, as of one revision.

Rules:

1. Changes come in the order of their revisions, over all kinds of keys: one watch on the cluster's prefix. Whoever has
   seen the targets of a revision has therefore seen every claim that was written before them.
2. A value that cannot be read counts as not written: what was there before stays, and ``faults`` says why. A write
   that is guarded by the targets that were last understood fails then. Targets that are damaged, not merely of a newer
   release, count as targets that leave everything to nobody: owners keep what they serve, and the leader writes others.
3. The view tells states, not events: whoever uses it compares with what it did last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from goverse.cluster.claims import Claims
from goverse.cluster.keys import KeyLayout, Kind, ParsedKey
from goverse.cluster.member import Load, Member
from goverse.cluster.targets import Targets
from goverse.errors import DataDamaged, DataNewer
from goverse.model.catalog import Catalog, decode_catalog


class Entry(NamedTuple):
    """A key as etcd has it."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int


class Leadership(NamedTuple):
    """The leader key's value, and the revision that created it."""

    value: bytes
    create_revision: int


class ClusterView:
    """The cluster as one process sees it; ids are the keys of the mappings.

    Attributes:
        revision: the newest revision that it reflects.
        nodes: the nodes that are registered.
        gates: the gates that are registered.
        claims: what each node claims.
        targets: who should own what; None before the first plan.
        targets_revision: the revision that wrote them; 0 while there are none.
        pins: per pinned shard, its node.
        drains: the nodes that an operator drains.
        loads: what each node has to do.
        catalogs: the object types that each node serves.
        leader: the leader key, or None.
        shard_count: how many shards the cluster has; None before that was written.
        faults: per key whose value cannot be read, why.
        members_revision: the newest revision of any node's registration.
        intents_revision: the newest revision of any pin or drain.
        loads_revision: the newest revision of any load.
        reloads: how often everything was replaced; then also equal revisions may mean other contents.
        histories: how often etcd was found to have been emptied, replaced or restored; revisions and leases from before
            mean nothing then.
        claims_revision: the newest revision of any node's claims.
        catalogs_revision: the newest revision of any node's object types.
    """

    def __init__(self, layout: KeyLayout) -> None:
        """See nothing yet."""
        self.layout = layout
        self.revision = 0
        self.members_revision = 0
        self.intents_revision = 0
        self.loads_revision = 0
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

    def revision_of(self, key: str) -> int:
        """Return the revision that wrote ``key`` last; 0 where it is not there."""
        return self._revisions.get(key, 0)

    def reload(self, entries: Iterable[Entry], revision: int, *, new_history: bool = False) -> None:
        """Replace everything by what is there at ``revision``: at the start, after a compaction, in a new history."""
        self._clear()
        self._revisions.clear()
        self.faults.clear()
        self.revision = self.members_revision = self.intents_revision = self.loads_revision = revision
        self.claims_revision = self.catalogs_revision = revision
        self.reloads += 1
        self.histories += new_history
        for entry in entries:
            self.put(entry)

    def put(self, entry: Entry) -> None:
        """Take in a write."""
        self.revision = max(self.revision, entry.mod_revision)
        parsed = self.layout.parse(entry.key)
        if parsed is None:
            return
        self._revisions[entry.key] = entry.mod_revision
        try:
            self._read(parsed, entry)
        except (DataDamaged, DataNewer) as error:
            self.faults[entry.key] = error.detail
            if parsed.kind is Kind.TARGETS and isinstance(error, DataDamaged):
                self.targets, self.targets_revision = None, entry.mod_revision
        else:
            self.faults.pop(entry.key, None)
        self._note(parsed, entry.mod_revision)

    def delete(self, key: str, revision: int) -> None:
        """Take in a deletion."""
        self.revision = max(self.revision, revision)
        parsed = self.layout.parse(key)
        if parsed is None:
            return
        self._revisions.pop(key, None)
        self.faults.pop(key, None)
        self._note(parsed, revision)
        kind, name = parsed
        if kind is Kind.SHARDS:
            self.shard_count = None
        elif kind is Kind.LEADER:
            self.leader = None
        elif kind is Kind.TARGETS:
            self.targets = None
            self.targets_revision = 0
        elif kind is Kind.PIN:
            self.pins.pop(int(name), None)
        elif kind is Kind.DRAIN:
            self.drains.discard(name)
        elif kind is Kind.NODE:
            self.nodes.pop(name, None)
        elif kind is Kind.GATE:
            self.gates.pop(name, None)
        elif kind is Kind.CLAIMS:
            self.claims.pop(name, None)
        elif kind is Kind.LOAD:
            self.loads.pop(name, None)
        elif kind is Kind.CATALOG:
            self.catalogs.pop(name, None)

    def _note(self, parsed: ParsedKey, revision: int) -> None:
        if parsed.kind is Kind.NODE:
            self.members_revision = revision
        elif parsed.kind in (Kind.PIN, Kind.DRAIN):
            self.intents_revision = revision
        elif parsed.kind is Kind.LOAD:
            self.loads_revision = revision
        elif parsed.kind is Kind.CLAIMS:
            self.claims_revision = revision
        elif parsed.kind is Kind.CATALOG:
            self.catalogs_revision = revision

    def _read(self, parsed: ParsedKey, entry: Entry) -> None:
        kind, name = parsed
        if kind is Kind.SHARDS:
            self.shard_count = _count(entry.value)
        elif kind is Kind.NODE:
            self.nodes[name] = _named(Member.decode(entry.value), name)
        elif kind is Kind.GATE:
            self.gates[name] = _named(Member.decode(entry.value), name)
        elif kind is Kind.CLAIMS:
            self.claims[name] = Claims.decode(entry.value)
        elif kind is Kind.LEADER:
            self.leader = Leadership(entry.value, entry.create_revision)
        elif kind is Kind.TARGETS:
            self.targets = Targets.decode(entry.value)
            self.targets_revision = entry.mod_revision
        elif kind is Kind.PIN:
            self.pins[int(name)] = _node_id(entry.value)
        elif kind is Kind.DRAIN:
            self.drains.add(name)
        elif kind is Kind.CATALOG:
            self.catalogs[name] = decode_catalog(entry.value)
        else:
            self.loads[name] = Load.decode(entry.value)


def _count(value: bytes) -> int:
    if not value.isdigit() or len(value) > 9:
        raise DataDamaged("the shard count is not a number")
    return int(value)


def _node_id(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DataDamaged("a pin does not name a node") from error


def _named(member: Member, name: str) -> Member:
    if member.id != name:
        raise DataDamaged(f"a member that calls itself {member.id!r} is registered as {name!r}")
    return member
