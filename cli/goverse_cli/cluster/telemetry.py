"""The metrics registry and the readiness report of a node process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from goverse.routing.metrics import RouterMetrics
from goverse.routing.router import Router
from goverse_cli.cluster.gate_telemetry import registry_of
from goverse_node.metrics import NodeMetrics
from goverse_node.node import Node
from goverse_node.ownership.keeper import Keeper
from goverse_node.ownership.metrics import OwnershipMetrics


def node_metrics(node: Node, keeper: Keeper, router: Router, *others: Collector) -> CollectorRegistry:
    """Return a registry with the metrics of the node, its shards, its router and ``others``."""
    return registry_of(NodeMetrics(node), OwnershipMetrics(keeper), RouterMetrics(router), *others)


def node_report(node: Node, keeper: Keeper) -> tuple[bool, Mapping[str, Any]]:
    """Return True if the node is ready, and a report with the reasons if it is not."""
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
