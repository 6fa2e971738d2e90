"""The metrics registry of a gate process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from goverse.routing.metrics import RouterMetrics
from goverse.routing.router import Router
from goverse.telemetry.coordination import MeteredCoordinator
from goverse.telemetry.process import register_process_metrics
from goverse.telemetry.tls import TlsMetrics
from goverse.telemetry.wire import WireMetrics
from goverse.wire.stats import WireStats
from goverse_cli.version import release


def gate_metrics(
    router: Router, coordinator: MeteredCoordinator, links: WireStats, tls: TlsMetrics
) -> CollectorRegistry:
    """Return the metrics about the cluster; the gate adds its HTTP metrics to the same registry."""
    return registry_of(RouterMetrics(router), coordinator, WireMetrics(out=links), tls)


def registry_of(*parts: Collector) -> CollectorRegistry:
    """Return a registry with ``parts`` and the metrics of the process itself."""
    registry = CollectorRegistry()
    register_process_metrics(registry, version=release())
    for part in parts:
        registry.register(part)
    return registry
