"""The metrics of a gate's process, put together from their parts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from goverse.routing.metrics import RouterMetrics
from goverse.routing.router import Router
from goverse.telemetry.coordination import MeteredCoordinator
from goverse.telemetry.process import register_process_metrics
from goverse.telemetry.wire import WireMetrics
from goverse.wire.stats import WireStats
from goverse_cli.version import release


def gate_metrics(router: Router, coordinator: MeteredCoordinator, links: WireStats) -> CollectorRegistry:
    """Return what a gate knows of its cluster; the gate adds what it knows of its callers."""
    registry = CollectorRegistry()
    register_process_metrics(registry, version=release())
    registry.register(RouterMetrics(router))
    registry.register(coordinator)
    registry.register(WireMetrics(out=links))
    return registry
