"""Allowed connections, computed from the NetworkPolicies of the rendered chart.

An edge is (from, to, port) between parts of the cluster. Both ends must allow it. A peer outside the chart has no
policies here and is named as in the policy: ``namespace:…``, ``cidr:…``, or ``pods`` for any Pod of the namespace.
"""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]
Edge = tuple[str, str, int]

COMPONENT = "app.kubernetes.io/component"


def selects(selector: Document, labels: Document) -> bool:
    """Return True if a label selector matches."""
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def edges(documents: list[Document], parts: dict[str, Document]) -> set[Edge]:
    """Return the edges that the policies allow between ``parts``, given by name with the labels of their Pods."""
    policies = [each for each in documents if each["kind"] == "NetworkPolicy"]
    out = {name: _allowed(policies, "egress", "to", labels) for name, labels in parts.items()}
    into = {name: _allowed(policies, "ingress", "from", labels) for name, labels in parts.items()}
    found = {
        (source, target, port)
        for source, leaving in out.items()
        for target, entering in into.items()
        for port in _ports(leaving, parts[target]) & _ports(entering, parts[source])
    }
    found |= {
        (source, _outsider(peer), port) for source, rules in out.items() for peer, port in rules if _outsider(peer)
    }
    found |= {
        (_outsider(peer), target, port) for target, rules in into.items() for peer, port in rules if _outsider(peer)
    }
    return found


Rule = tuple[Document, int]


def _allowed(policies: list[Document], direction: str, peers: str, labels: Document) -> list[Rule]:
    """Return the peers and ports that a Pod with these labels may reach, or be reached by."""
    return [
        (peer, port["port"])
        for policy in policies
        if selects(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get(direction, [])
        for peer in rule.get(peers, [{"podSelector": {}}])
        for port in rule["ports"]
    ]


def _ports(rules: list[Rule], labels: Document) -> set[int]:
    return {port for peer, port in rules if peer.keys() == {"podSelector"} and selects(peer["podSelector"], labels)}


def _outsider(peer: Document) -> str:
    """Return a name for a peer outside the chart, or "" for a Pod of the chart."""
    if "ipBlock" in peer:
        return f"cidr:{peer['ipBlock']['cidr']}"
    if "namespaceSelector" in peer:
        labels = peer["namespaceSelector"].get("matchLabels", {})
        return f"namespace:{','.join(labels.values())}"
    return "" if peer["podSelector"].get("matchLabels") else "pods"
