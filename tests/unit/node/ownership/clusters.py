"""A simulated cluster for the planner. The test decides when shards reach their targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from goverse.cluster.member import Load, Member
from goverse.cluster.targets import Targets
from goverse_node.ownership.planner import plan
from goverse_node.ownership.situation import Decision, Plan, PlanLimits, Situation

ROUNDS_MAX = 100


def member(name: str, weight: float = 1.0) -> Member:
    """Return a serving node."""
    return Member(name, f"{name}:1", f"{name}.1", weight=weight)


def nodes(count: int) -> dict[str, Member]:
    """Return nodes of equal weight."""
    return {f"n{number}": member(f"n{number}") for number in range(count)}


class PlannedCluster:
    """Plans round by round; `claimants` follow the targets."""

    def __init__(self, members: Mapping[str, Member], shard_count: int, limits: PlanLimits | None = None) -> None:
        self.situation = Situation(
            Targets.empty(shard_count), [None] * shard_count, dict(members), limits=limits or PlanLimits()
        )

    @property
    def owners(self) -> list[str | None]:
        """The target of each shard."""
        return self.situation.targets.owners()

    @property
    def counts(self) -> Counter[str | None]:
        """The number of shards that each node should own."""
        return Counter(self.owners)

    def change(
        self,
        *,
        members: Mapping[str, Member] | None = None,
        pins: Mapping[int, str] | None = None,
        drains: Iterable[str] | None = None,
        loads: Mapping[str, Load] | None = None,
    ) -> None:
        """Change the situation. Nodes that are gone claim no shard."""
        now = self.situation
        present = now.nodes if members is None else dict(members)
        self.situation = replace(
            now,
            nodes=present,
            claimants=[one if one in present else None for one in now.claimants],
            pins=now.pins if pins is None else dict(pins),
            drains=now.drains if drains is None else frozenset(drains),
            loads=now.loads if loads is None else dict(loads),
        )

    def round(self, *, arriving: int | None = None) -> Plan:
        """Plan once, then let all moved shards, or the first ``arriving``, reach their targets."""
        made = plan(self.situation)
        claimants = list(self.situation.claimants)
        owners = made.targets.owners()
        late = [shard for shard, owner in enumerate(owners) if claimants[shard] != owner]
        for shard in late if arriving is None else late[:arriving]:
            claimants[shard] = owners[shard]
        self.situation = replace(self.situation, targets=made.targets, claimants=claimants)
        return made

    def settle(self) -> list[Decision]:
        """Plan until a plan is empty. Return all decisions."""
        decided: list[Decision] = []
        for _ in range(ROUNDS_MAX):
            before = self.situation.claimants
            made = self.round()
            # completed moves free budget, so a round without decisions is the last one only if no shard arrived
            if not made.decisions and self.situation.claimants == before:
                return decided
            decided += made.decisions
        raise AssertionError(f"the plan does not converge: {decided[-5:]}")
