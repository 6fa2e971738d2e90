"""Tests of `nodes.shutdown`: the shutdown of nodes' Pods, the preStop hook and its permissions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from goverse_cli.pre_stop import PATIENCE_S, find_out
from tests.deploy.policies import COMPONENT, edges
from tests.deploy.rendering import NAMES, Document, documents, environment, named, pods, template
from tests.service_account import ASKED, ServiceAccount, service_account

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-2")]

AUTO = "shutdown-auto"


def _node(found: list[Document]) -> Document:
    return dict(named(found, "StatefulSet", "goverse-node")["spec"]["template"]["spec"])


def _asks(found: list[Document]) -> bool:
    """Return True if the nodes' preStop hook is the one that queries the API server."""
    return "goverse_cli.pre_stop" in str(_node(found)["containers"][0].get("lifecycle"))


def _rendered(*settings: str) -> list[Document]:
    ran = template("--set", "app.image=x:1", *(f"--set={setting}" for setting in settings))
    assert ran.returncode == 0, ran.stderr
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


def test_the_matrix_has_every_way_to_end() -> None:
    hooks = {name: str(_node(documents(name))["containers"][0].get("lifecycle", "none")) for name in NAMES}

    assert hooks["minimal"] == "none"
    assert "signal.SIGQUIT" in hooks["fast-restarts"]
    assert _asks(documents(AUTO))


@pytest.mark.parametrize("name", NAMES)
def test_only_a_node_that_queries_the_api_server_has_a_token_and_a_permission(name: str) -> None:
    found = documents(name)
    with_token = [label for label, pod in pods(found) if pod["spec"]["automountServiceAccountToken"]]
    rights = sorted(each["kind"] for each in found if each["apiVersion"].startswith("rbac."))

    assert with_token == (["StatefulSet/goverse-node"] if _asks(found) else [])
    assert rights == (["Role", "RoleBinding"] if _asks(found) else [])


@pytest.mark.parametrize("name", [AUTO, "pods"])
def test_a_node_may_read_its_own_stateful_set_and_nothing_else(name: str) -> None:
    found = documents(name)
    role, binding = named(found, "Role", "goverse-node"), named(found, "RoleBinding", "goverse-node")
    own = {"apiGroups": ["apps"], "resources": ["statefulsets"], "resourceNames": ["goverse-node"], "verbs": ["get"]}

    assert role["rules"] == [own]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "goverse-node"}
    account = _node(found)["serviceAccountName"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "objects"}]
    assert named(found, "ServiceAccount", account)["automountServiceAccountToken"] is False
    namespaces = {each["metadata"]["namespace"] for each in (role, binding)}
    assert namespaces == {"objects"}


@pytest.mark.requirement("OPS-4")
def test_the_hook_has_the_time_that_it_takes() -> None:
    found = documents(AUTO)
    grace = _node(found)["terminationGracePeriodSeconds"]
    without = _node(documents("minimal"))["terminationGracePeriodSeconds"]

    command = _node(found)["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["/opt/goverse/bin/python", "-m", "goverse_cli.pre_stop", str(grace)]
    assert grace > without + PATIENCE_S


@pytest.fixture
def account(tmp_path: Path) -> Any:
    """An API server over TLS that has the rendered StatefulSet."""
    with service_account(tmp_path) as made:
        yield made


@pytest.mark.requirement("OPS-4")
@pytest.mark.parametrize(("replicas", "comes_back"), [(1, True), (0, False)])
def test_the_hook_finds_the_rendered_set_by_the_rendered_environment(
    replicas: int, comes_back: bool, account: ServiceAccount
) -> None:
    found = documents(AUTO)
    account.server.put({**named(found, "StatefulSet", "goverse-node")})
    account.server.objects["statefulsets", "goverse-node"]["spec"]["replicas"] = replicas
    variables = environment(_node(found)["containers"][0])
    address = {name: value for name, value in account.environ.items() if name.startswith("KUBERNETES_")}

    decided = find_out({**variables, **address}, account.folder, 30.0)

    assert decided.comes_back is comes_back, decided.reason
    assert account.server.asked == [("GET", ASKED)]


def _outside(found: list[Document]) -> set[tuple[str, str, int]]:
    labels = {pod["metadata"]["labels"][COMPONENT]: pod["metadata"]["labels"] for _, pod in pods(found)}
    return {edge for edge in edges(found, labels) if edge[0] in labels and edge[1] not in labels and edge[2] != 53}


def test_nodes_alone_reach_the_api_server_and_where_they_ask_alone() -> None:
    assert _outside(documents("minimal")) == set()
    assert _outside(documents(AUTO)) == {("node", "cidr:192.0.2.1/32", 6443), ("node", "cidr:2001:db8::1/128", 6443)}
    assert _outside(_rendered("nodes.shutdown=auto")) == {("node", "pods", 443), ("node", "pods", 6443)}


def test_ways_to_end_differ_in_nothing_else() -> None:
    """Objects for the query exist only with `auto`, and all other objects are the same."""
    settings = ("tls.enabled=false", "postgres.existingSecret=p")
    graceful, auto = (
        {(each["kind"], each["metadata"]["name"]): each for each in _rendered(f"nodes.shutdown={how}", *settings)}
        for how in ("graceful", "auto")
    )

    assert auto.keys() - graceful.keys() == {("Role", "goverse-node"), ("RoleBinding", "goverse-node")}
    assert {key for key in graceful if graceful[key] != auto[key]} == {
        ("StatefulSet", "goverse-node"),
        ("NetworkPolicy", "goverse-node"),
    }
