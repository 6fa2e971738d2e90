"""The series of a router: calls that wait for an owner, and sends that gave no result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from goverse.cluster.delivery import Miss
from goverse.telemetry.series import counter, counters, gauge

if TYPE_CHECKING:
    from goverse.routing.router import Router


@dataclass(slots=True)
class RouterStats:
    """Counters of calls that did not simply go to an owner and come back.

    Attributes:
        misses: sends without a result, by how.
        forwards: calls that were sent on to another node than the one that was asked before.
        parked: how often a call began to wait for an owner.
        held: how often a call was not even sent, since its node cannot be reached.
        refused: calls that found no place to wait.
    """

    misses: dict[Miss, int] = field(default_factory=lambda: dict.fromkeys(Miss, 0))
    forwards: int = 0
    parked: int = 0
    held: int = 0
    refused: int = 0


class RouterMetrics(Collector):
    """``goverse_routing_…``."""

    def __init__(self, router: Router) -> None:
        """Describe ``router``."""
        self._router = router

    def collect(self) -> Iterator[Metric]:
        """Give the series of this moment."""
        router, stats = self._router, self._router.stats
        served, shards = router.progress()
        yield gauge("routing_shards_served", "Shards whose owner is known and registered.", served)
        yield gauge("routing_shards", "Shards of the cluster.", shards)
        yield gauge("routing_parked_calls", "Calls that wait for the owner of their shard.", len(router.parking))
        yield counter("routing_calls_parked", "Times that a call began to wait for an owner.", stats.parked)
        yield counter("routing_calls_refused", "Calls that found no place to wait for an owner.", stats.refused)
        yield gauge(
            "routing_circuits_open", "Nodes that get no calls, since they cannot be reached.", len(router.links.unreachable)
        )
        yield counter(
            "routing_circuits_opened", "Times that a node could not be reached any more.", router.links.openings
        )
        yield counter("routing_calls_held", "Times that a call waited for such a node without a try.", stats.held)
        yield counters(
            "routing_retries",
            "Sends without a result, after which the call was sent again or waited.",
            "reason",
            {miss.name.lower(): count for miss, count in stats.misses.items()},
        )
        yield counter(
            "routing_forwards", "Calls sent on to another node, because their shard had moved.", stats.forwards
        )
