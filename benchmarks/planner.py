"""Cost of the planner in a large cluster, and the number of moves that it plans.

    python -m benchmarks.planner [--nodes 1000] [--shards 65536]

Each line is a change of the cluster. Rounds are planned until no move is left; between rounds, all shards reach their
targets. The longest round is the longest time for which the leader's event loop is blocked.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from goverse.cluster.member import Load, Member
from goverse.cluster.targets import Targets
from goverse_node.ownership.planner import plan
from goverse_node.ownership.situation import Plan, PlanLimits, Reason, Situation


class Cluster:
    """A cluster whose shards reach their targets immediately."""

    def __init__(self, nodes: int, shards: int, limits: PlanLimits) -> None:
        self.nodes = {f"node-{number}": _member(f"node-{number}") for number in range(nodes)}
        self.situation = Situation(Targets.empty(shards), [None] * shards, dict(self.nodes), limits=limits)

    def settle(self, what: str, *, expected: int | None = None) -> None:
        """Plan rounds until no move is left, and print their cost."""
        rounds: list[float] = []
        reasons: Counter[Reason] = Counter()
        while True:
            began = time.perf_counter()
            made = plan(self.situation)
            rounds.append(time.perf_counter() - began)
            reasons.update(one.reason for one in made.decisions)
            self._arrive(made)
            if not made.decisions:
                break
        moves = sum(reasons.values())
        told = ", ".join(f"{reason.value} {count}" for reason, count in reasons.most_common())
        least = "" if expected is None else f" (at least {expected})"
        print(
            f"{what}: {moves} moves{least} in {len(rounds) - 1} rounds, longest {max(rounds):.2f} s, "
            f"last {rounds[-1] * 1e3:.0f} ms, fullest node {made.imbalance:.3f} of its share [{told}]"
        )

    def _arrive(self, made: Plan) -> None:
        self.situation = replace(self.situation, targets=made.targets, claimants=made.targets.owners())

    def change(self, members: Mapping[str, Member]) -> None:
        """Replace the registered nodes."""
        self.nodes = dict(members)
        claimants = [one if one in self.nodes else None for one in self.situation.claimants]
        self.situation = replace(self.situation, nodes=self.nodes, claimants=claimants)

    def count(self, nodes: set[str]) -> int:
        """Return the number of shards of these nodes."""
        return sum(owner in nodes for owner in self.situation.targets.owners())


def _member(name: str) -> Member:
    return Member(name, f"{name}:7000", f"{name}.1")


def main() -> None:
    """Plan a series of changes of a large cluster."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planner", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--shards", type=int, default=65_536)
    options = parser.parse_args()
    shards = options.shards
    cluster = Cluster(options.nodes, shards, PlanLimits(moves_per_round=2_048, moves_in_flight=4_096))
    cluster.settle("start", expected=shards)
    names = sorted(cluster.nodes)
    lost = {names[0]}
    homeless = cluster.count(lost)
    cluster.change({name: one for name, one in cluster.nodes.items() if name not in lost})
    cluster.settle("one node dies", expected=homeless)
    cluster.change({**cluster.nodes, "late-0": _member("late-0")})
    cluster.settle("one node joins", expected=int(shards / len(cluster.nodes) * 0.95))
    tenth = max(1, options.nodes // 10)
    more = {f"late-{number}": _member(f"late-{number}") for number in range(1, 1 + tenth)}
    cluster.change({**cluster.nodes, **more})
    cluster.settle(f"{tenth} nodes join", expected=int(tenth * shards / len(cluster.nodes) * 0.95))
    lost = set(names[1 : 1 + tenth])
    homeless = cluster.count(lost)
    cluster.change({name: one for name, one in cluster.nodes.items() if name not in lost})
    cluster.settle(f"{tenth} nodes die", expected=homeless)
    drained = set(names[-tenth:])
    homeless = cluster.count(drained)
    cluster.situation = replace(cluster.situation, drains=frozenset(drained))
    cluster.settle(f"{tenth} nodes are drained", expected=homeless)
    owners = cluster.situation.targets.owners()
    busy = next(name for name in sorted(cluster.nodes) if name not in drained)
    own = [shard for shard, owner in enumerate(owners) if owner == busy][:10]
    loads = {name: Load(100, 100.0, 0.3, 0.3) for name in cluster.nodes}
    loads[busy] = Load(100, 1_000.0, 0.8, 0.3, dict.fromkeys(own, 90.0))
    cluster.situation = replace(cluster.situation, loads=loads)
    cluster.settle("one node is ten times as busy")


if __name__ == "__main__":
    main()
