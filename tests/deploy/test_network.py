"""Tests that the network policies allow exactly the connections that the parts need.

test_pods.py compares these connections with those of running Pods.
"""

from __future__ import annotations

import pytest

from tests.deploy.policies import COMPONENT, edges, selects
from tests.deploy.rendering import NAMES, documents, pods

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-2")]

PARTS = ("gate", "node", "etcd", "postgres", "tools", "backup", "test")

# The connections that the running system uses: from, to, port.
EDGES = {
    ("gate", "node", 7400),
    ("gate", "etcd", 2379),
    ("node", "node", 7400),
    ("node", "etcd", 2379),
    ("node", "postgres", 5432),
    ("etcd", "etcd", 2380),
    ("tools", "postgres", 5432),
    ("backup", "postgres", 5432),
    ("backup", "etcd", 2379),
    ("test", "gate", 8000),
}


@pytest.mark.parametrize("name", ["minimal", "everything", "tls-off", "existing-secrets", "shutdown-auto"])
def test_exactly_the_needed_edges_are_open(name: str) -> None:
    found = documents(name)
    labels = {pod["metadata"]["labels"][COMPONENT]: pod["metadata"]["labels"] for _, pod in pods(found)}
    inside = {edge for edge in edges(found, labels) if {edge[0], edge[1]} <= labels.keys()}

    assert inside == {edge for edge in EDGES if {edge[0], edge[1]} <= labels.keys()}
    assert labels.keys() <= set(PARTS)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "one-of-each"])
def test_every_pod_is_denied_what_is_not_allowed(name: str) -> None:
    found = documents(name)
    denying = [
        policy["spec"]["podSelector"]
        for policy in found
        if policy["kind"] == "NetworkPolicy" and not {"ingress", "egress"} & policy["spec"].keys()
    ]
    assert len(denying) == 1
    for label, pod in pods(found):
        assert selects(denying[0], pod["metadata"]["labels"]), label


def test_external_stores_are_reached_at_their_ports_and_networks_only() -> None:
    rules = [
        rule
        for policy in documents("external-stores")
        if policy["kind"] == "NetworkPolicy" and policy["metadata"]["name"] == "goverse-node"
        for rule in policy["spec"]["egress"]
    ]
    outside = {
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in rules
        for peer in rule.get("to", [])
        if "ipBlock" in peer
        for port in rule["ports"]
    }

    assert outside == {("192.0.2.0/24", port) for port in (2379, 2380, 5432, 5433)}
