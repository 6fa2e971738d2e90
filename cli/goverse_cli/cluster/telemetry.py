"""The metrics of a node's process and of a gate's, put together from their parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from goverse_node.metrics import NodeMetrics
from goverse_node.node import Node
from goverse_node.ownership.keeper import Keeper
from goverse_node.ownership.metrics import OwnershipMetrics


def gate_metrics(
    router: Router, coordinator: MeteredCoordinator, links: WireStats, tls: TlsMetrics
) -> CollectorRegistry:
    """Return what a gate knows of its cluster; the gate adds what it knows of its callers."""
    return _registry(RouterMetrics(router), coordinator, WireMetrics(out=links), tls)


def node_metrics(node: Node, keeper: Keeper, router: Router, *others: Collector) -> CollectorRegistry:
    """Return what a node counts, and what ``others`` do."""
    return _registry(NodeMetrics(node), OwnershipMetrics(keeper), RouterMetrics(router), *others)


def _registry(*parts: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    register_process_metrics(registry, version=release())
    for part in parts:
        registry.register(part)
    return registry


def node_report(node: Node, keeper: Keeper) -> tuple[bool, Mapping[str, Any]]:
    """Tell whether a node serves all that it should now, and why not."""
    told, progress = node.readiness(), keeper.progress()
    reasons = [*told.reasons, *keeper.reasons()]
    return not reasons, {
        "reasons": reasons,
        "claimed": progress.claimed,
        "wanted": progress.wanted,
        "lease_s": round(progress.lease_s, 3),
        "leader": keeper.leads,
        "commit_seq": str(told.commit_seq),
    }
