"""Prometheus metrics of ownership: a node's shards, its plans while it is the leader, and durations.

Every node exports the leader's metrics (moves in progress, decisions, imbalance), with the value zero while it is not
the leader, so the sum over all nodes is the value of the cluster. Labels are phases, reasons and operations, never
shards or nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from goverse.telemetry.series import counter, counters, gauge, gauges
from goverse_node.ownership.keeper import Keeper
from goverse_node.ownership.phases import ShardPhase
from goverse_node.ownership.situation import Reason

_PHASES: Final = tuple(phase for phase in ShardPhase if phase is not ShardPhase.ABSENT)


class OwnershipMetrics(Collector):
    """Metrics of a keeper."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def collect(self) -> Iterator[Metric]:
        """Return the current values."""
        keeper = self._keeper
        yield from self._shards()
        yield from self._leading()
        yield from keeper.requests.times.durations.collect()
        yield from keeper.requests.times.timeouts.collect()
        longest = keeper.requests.times.longest_close_s
        yield gauge("shard_close_longest_seconds", "Longest time that a shard took to close here.", longest)

    def _shards(self) -> Iterator[Metric]:
        ownership = self._keeper.ownership
        phases = {phase.name.lower(): float(ownership.shards.count(phase)) for phase in _PHASES}
        yield gauges(
            "shards_total", "Shards that this node holds, by phase; it serves those in phase open.", "phase", phases
        )
        progress = self._keeper.progress()
        yield gauge("shards_wanted", "Shards that are assigned to this node.", progress.wanted)
        yield gauge(
            "shards_contended", "Shards assigned to this node that another node still claims.", progress.contended
        )
        counts = ownership.shards.counts
        yield counter("shard_claims", "Epochs of shards that the store granted to this node.", counts.claims)
        yield counters(
            "shard_releases",
            "Shards that left this node: handed over, given up by force, or fenced by a newer epoch.",
            "how",
            {"handed_over": counts.releases, "forced": counts.forced, "fenced": counts.fenced},
        )
        yield counter("load_reports", "Load reports that this node wrote to etcd.", self._keeper.loads.writes)
        yield gauge("lease_remaining_seconds", "Time for which the node's lease is certain to live.", progress.lease_s)

    def _leading(self) -> Iterator[Metric]:
        keeper, leader = self._keeper, self._keeper.leader
        leads = keeper.leads
        yield gauge("leader", "1 on the leader, else 0.", leads)
        yield gauge("shards_migrating", "Shards that are moving to their target.", len(leader.moves.under_way))
        yield gauge("shard_migrations_stuck", "Moves that are stuck.", keeper.stuck())
        counts = leader.move_counts
        yield counter("shard_migrations", "Completed moves.", counts.migrations)
        yield counter("shard_migrations_stuck_resolved", "Stuck moves that the leader withdrew.", counts.stuck)
        yield counters(
            "rebalance_decisions",
            "Shards that were assigned to another node, by reason.",
            "reason",
            {reason.value: leader.reasons[reason] for reason in Reason},
        )
        plan = leader.latest if leads else None
        yield gauge("rebalance_deferred", "Moves that wait for a later plan.", plan.deferred if plan else 0)
        yield gauge(
            "shards_imbalance_ratio",
            "Planned shards of the fullest node, as a multiple of its share.",
            plan.imbalance if plan else 0.0,
        )
