"""Metrics of a router: parked calls, unreachable nodes and retries."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from goverse.routing.router import Router
from goverse.telemetry.series import counter, counters, gauge


class RouterMetrics(Collector):
    """``goverse_routing_…``."""

    def __init__(self, router: Router) -> None:
        """Describe ``router``."""
        self._router = router

    def collect(self) -> Iterator[Metric]:
        router, stats = self._router, self._router.stats
        served, shards = router.progress()
        yield gauge("routing_shards_served", "Shards with a registered owner.", served)
        yield gauge("routing_shards", "Shards of the cluster.", shards)
        yield gauge("routing_parked_calls", "Calls that wait for the owner of their shard.", len(router.parking))
        yield counter("routing_calls_parked", "Number of times a call was parked to wait for an owner.", stats.parked)
        yield counter("routing_calls_refused", "Calls refused because too many calls were parked.", stats.refused)
        yield gauge("routing_circuits_open", "Unreachable nodes, which get no calls.", len(router.links.unreachable))
        yield counter("routing_circuits_opened", "Number of times a node became unreachable.", router.links.openings)
        yield counter(
            "routing_calls_held", "Number of times a call was parked because its node was unreachable.", stats.held
        )
        yield counters(
            "routing_retries",
            "Sends without a result; the call was sent again or parked.",
            "reason",
            {miss.name.lower(): count for miss, count in stats.misses.items()},
        )
        yield counter("routing_forwards", "Calls sent to another node because their shard had moved.", stats.forwards)
