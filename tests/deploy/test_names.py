"""Tests of names, labels, ports and rollouts for releases and addresses of all forms."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.deploy.rendering import CHART, VALUES, Document, containers, named, pods, run

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-2")]

EVERYTHING = next(path for path in VALUES if path.stem == "everything")
LONG = ["s" * 53, "shop-production-eu-west-1-goverse-00000000000000001", f"{'s' * 52}2", "shop-production-eu-west-1-0"]


def rendered(release: str, namespace: str, *words: str) -> list[Document]:
    """Return the objects of a release."""
    ran = run("helm", "template", release, CHART, "--namespace", namespace, "--values", EVERYTHING, *words)
    assert ran.returncode == 0, ran.stderr
    return [document for document in yaml.safe_load_all(ran.stdout) if document]


def labels_of(value: Any) -> list[Any]:
    """Return the values of all labels in all objects."""
    if isinstance(value, dict):
        found = [label for key in ("labels", "matchLabels") for label in (value.get(key) or {}).values()]
        return found + [label for inner in value.values() for label in labels_of(inner)]
    return [label for inner in value for label in labels_of(inner)] if isinstance(value, list) else []


@pytest.mark.parametrize("release", [*LONG, "null", "true", "a1e5"])
def test_names_fit_and_labels_are_text_whatever_the_release_is_called(release: str) -> None:
    found = rendered(release, "123")
    for document in found:
        name = document["metadata"]["name"]
        assert len(name) <= (52 if document["kind"] == "CronJob" else 63), name
        assert isinstance(document["metadata"].get("namespace", ""), str)
        assert all(isinstance(label, str) for label in labels_of(document))
    assert any(document["kind"] == "CronJob" for document in found)


def cluster(release: str, namespace: str) -> str:
    """Return the cluster name of a release."""
    (config,) = [
        yaml.safe_load(document["data"]["goverse.yaml"])
        for document in rendered(release, namespace)
        if document["kind"] == "ConfigMap" and "goverse.yaml" in document["data"]
    ]
    return str(config["cluster"]["name"])


def test_what_is_cut_stays_different() -> None:
    names = {min(each["metadata"]["name"] for each in rendered(release, "x")) for release in LONG}
    clusters = {cluster("goverse", "n" * 62 + end) for end in "ab"} | {cluster(release, "n" * 62) for release in LONG}

    assert len(names) == len(LONG)
    assert len(clusters) == 2 + len(LONG)
    assert all(len(name) <= 64 for name in clusters)
    assert cluster("goverse", "objects") == "objects.goverse"


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("https://10.0.0.5", 2379),
        ("https://etcd-7/", 2379),
        ("http://etcd:2380/", 2380),
        ("etcd:2381", 2381),
        ("https://[fd00::7]", 2379),
    ],
)
def test_policies_open_the_port_that_the_client_takes(endpoint: str, port: int) -> None:
    found = rendered("goverse", "x", "--set", f"etcd.bundled=false,etcd.external.endpoints={{{endpoint}}}")
    rules = named(found, "NetworkPolicy", "goverse-gate")["spec"]["egress"]

    assert {each["port"] for rule in rules for each in rule["ports"]} == {7400, port}


def test_a_rollout_needs_no_machine_more_than_there_are_gates() -> None:
    def strategy(hosts: str) -> Any:
        found = rendered("goverse", "x", "--set", f"spread.hosts={hosts}")
        return named(found, "Deployment", "goverse-gate")["spec"]["strategy"]["rollingUpdate"]

    assert strategy("required") == {"maxSurge": 0, "maxUnavailable": 1}
    assert strategy("preferred") == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_administrators_password_is_in_no_variable_and_no_name() -> None:
    (pod,) = [pod for label, pod in pods(rendered("goverse", "x")) if "-migrate-" in label]
    (container,) = containers(pod)
    variables = {each["name"]: each for each in container["env"]}

    assert not [each for each in variables.values() if "valueFrom" in each]
    assert "$" not in variables["GOVERSE_ADMIN_DSN"]["value"]
    file = variables["GOVERSE_ADMIN_PASSWORD_FILE"]["value"]
    (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == "postgres-admin"]
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "postgres-admin"]
    assert file == f"{mount['mountPath']}/{volume['secret']['items'][0]['path']}"
    assert volume["secret"]["items"][0]["key"] == "admin-password"
