"""Draft of a plan: the targets so far, the number of shards per node, and the remaining budget of moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from goverse.cluster.member import MemberState
from goverse.cluster.targets import Targets
from goverse_node.ownership.capacity import capacities
from goverse_node.ownership.rendezvous import Ring
from goverse_node.ownership.situation import Decision, Plan, Reason, Situation


class Draft:
    """The targets of all shards while a plan is being made.

    Attributes:
        situation: the input of the plan.
        owners: the target of each shard so far.
        present: the nodes that are alive or awaited after a restart. Their shards stay with them.
        open: the nodes that may get shards.
        last_resort: True if all of these are about to leave. They then get shards without a target, and nothing is
            balanced.
        willing: the open nodes without a recently refused (stuck) shard. The others get no shards for now.
        drained: the nodes that give their shards away.
        capacity: the capacity of each open node. Shards that restarting nodes keep are not counted.
        counts: the number of shards of each present node.
        budget: the number of served shards that may still move in this round.
        deferred: the number of moves that wait for a later round.
    """

    def __init__(self, situation: Situation) -> None:
        """Start with the current targets."""
        self.situation = situation
        nodes = situation.nodes
        self.owners = situation.targets.owners()
        self.present = nodes.keys() | situation.awaited
        serving = {node for node, one in nodes.items() if one.state is MemberState.SERVING} - situation.drains
        staying = {node for node, one in nodes.items() if one.state is not MemberState.RESTARTING}
        self.last_resort = not serving
        self.open = serving or staying or set(nodes)
        self.drained = staying - self.open
        passed_over = frozenset[str]().union(*situation.refused.values())
        self.willing = (self.open - passed_over) or self.open
        self.counts = dict.fromkeys(self.present, 0)
        self._decided: dict[int, Reason] = {}
        self._on_the_way = self._count()
        kept = sum(self.counts[node] for node in self.present - self.open - self.drained)
        weights = {node: nodes[node].weight for node in self.open}
        self.capacity = capacities(weights, situation.loads, len(self.owners) - kept, situation.limits.slack)
        limits = situation.limits
        self.budget = max(0, min(limits.moves_per_round, limits.moves_in_flight - self._on_the_way))
        self.deferred = 0
        self._ring = Ring({node: weights[node] for node in self.willing})
        for node in self.willing:
            self._note_room(node)

    def _count(self) -> int:
        on_the_way = 0
        for owner, claimant in zip(self.owners, self.situation.claimants, strict=True):
            if owner in self.counts:
                self.counts[owner] += 1
                on_the_way += claimant is not None and claimant != owner
        return on_the_way

    @cached_property
    def belongings(self) -> Mapping[str, Sequence[int]]:
        """The shards of each node before this plan."""
        found: dict[str, list[int]] = {node: [] for node in self.present}
        for shard, owner in enumerate(self.situation.targets.owners()):
            if owner in found:
                found[owner].append(shard)
        return found

    # --- queries ------------------------------------------------------------------------------------------------------

    def current_server(self, shard: int) -> str | None:
        """Return the node that currently serves ``shard``, if it may keep it."""
        claimant = self.situation.claimants[shard]
        return claimant if self._takes(claimant, shard) else None

    def pinned(self, shard: int) -> str | None:
        """Return the node that ``shard`` is pinned to, if that node can take it."""
        node = self.situation.pins.get(shard)
        return node if self._takes(node, shard) else None

    def _takes(self, node: str | None, shard: int) -> bool:
        return node in self.open and node not in self.situation.refused.get(shard, ())

    def settled(self, shard: int) -> bool:
        """Return True if ``shard`` is served by its target, not pinned, and not moved by this plan."""
        return (
            shard not in self._decided
            and self.situation.claimants[shard] == self.owners[shard]
            and shard not in self.situation.pins
        )

    def allowed(self, shard: int) -> bool:
        """Return True if ``shard`` may be moved in this round.

        Only shards that are served by their target need budget. Without budget the move is counted as deferred.
        """
        served = self.situation.claimants[shard] is not None
        if shard in self._decided:
            return False
        if self.budget or not served or self.situation.claimants[shard] != self.owners[shard]:
            return True
        self.deferred += 1
        return False

    def place_for(self, shard: int) -> str | None:
        """Return the best-ranked node below its share, else the emptiest node; None if that is the current target."""
        refused = self.situation.refused.get(shard, frozenset())
        found = self._ring.best(shard, refused)
        if found is None:
            candidates = (self.willing - refused) or (self.open - refused) or self.open
            found = min(candidates, key=self.fill, default=None)
        return found if found != self.owners[shard] else None

    def fill(self, node: str) -> tuple[float, str]:
        """Return a sort key: the number of the node's shards relative to its share, then its id."""
        return self.counts[node] / max(self.capacity[node].share, 1e-9), node

    # --- decisions ----------------------------------------------------------------------------------------------------

    def move(self, shard: int, target: str, reason: Reason) -> None:
        """Make ``target`` the new target of ``shard``."""
        source, claimant = self.owners[shard], self.situation.claimants[shard]
        self.owners[shard] = target
        self._decided[shard] = reason
        if source is not None and source in self.counts:
            self.counts[source] -= 1
            self._note_room(source)
        self.counts[target] += 1
        self._note_room(target)
        if claimant is not None and claimant == source and self.budget:
            self.budget -= 1

    def _note_room(self, node: str) -> None:
        """Keep the node on the ring while it may get shards and is below its share."""
        if node in self.willing:
            weight = self.situation.nodes[node].weight
            if self.counts[node] < self.capacity[node].share:
                self._ring.add(node, weight)
            else:
                self._ring.remove(node, weight)

    def plan(self) -> Plan:
        """Return the plan."""
        before = self.situation.targets
        decisions = [
            Decision(shard, before.owner(shard), target, reason)
            for shard, reason in sorted(self._decided.items())
            if (target := self.owners[shard]) is not None and target != before.owner(shard)
        ]
        targets = Targets.of(self.owners) if decisions else before
        fullest = max((self.fill(node)[0] for node in self.open), default=0.0)
        return Plan(targets, decisions, self.deferred, fullest)
