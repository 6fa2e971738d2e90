"""Tests of the chart under a matrix of values: validity for Kubernetes, working settings, and security."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from goverse.errors import PeerError
from goverse.settings import load_settings
from goverse.wire.peer_role import PeerRole, RoleNames
from tests.deploy.rendering import (
    CHART,
    NAMES,
    NAMESPACE,
    VALUES,
    containers,
    documents,
    environment,
    named,
    pods,
    run,
    template,
    text,
)

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-2")]

KUBERNETES = ["1.30.0", "1.33.0", "1.37.0"]

# Kinds of operators (custom resources), for which Kubernetes has no schema.
OF_OPERATORS = {"Certificate", "Issuer", "PrometheusRule", "ServiceMonitor"}

ACCEPTED = {
    "CKV_K8S_8": "the Pod of `helm test` runs once",
    "CKV_K8S_9": "the Pod of `helm test` runs once",
    "CKV_K8S_15": "the default is IfNotPresent, so that nodes can restart while the registry is unavailable",
    "CKV_K8S_35": "this is the user's own app.envFrom; the chart's secrets are files",
    "CKV_K8S_38": "with nodes.shutdown=auto a node reads its StatefulSet; test_shutdown.py checks that this is all",
    "CKV_K8S_40": "the user of the official PostgreSQL image has the id 999",
    "CKV_K8S_43": "values accept complete image references, so users can pin digests",
    "CKV_K8S_116": "checkov mistakes `etcdctl` of the backup for a server",
    "CKV_K8S_117": "checkov mistakes `etcdctl` of the backup for a server",
    "CKV_K8S_119": "checkov mistakes `etcdctl` of the backup for a server",
}


@pytest.mark.parametrize("name", NAMES)
def test_helm_finds_nothing_wrong(name: str) -> None:
    ran = run("helm", "lint", "--strict", CHART, "--values", next(path for path in VALUES if path.stem == name))

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_matrix_is_wide_enough() -> None:
    assert len(NAMES) >= 12


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_would_take_every_object(version: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.yaml" for name in NAMES]
    for name, file in zip(NAMES, files, strict=True):
        file.write_text(text(name), encoding="utf-8")
    ran = run("kubernetes-validate", "--strict", "-k", version, *files, timeout_s=300)
    said = (ran.stdout + ran.stderr).splitlines()

    assert ran.returncode == 0, "\n".join(line for line in said if not line.startswith("INFO"))
    unknown = {line.split("for kind ")[1].split()[0] for line in said if "find schema for kind" in line}
    assert unknown <= OF_OPERATORS


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, str, str]]]:
    """Findings of checkov by file of values: check, message, object."""
    folder = tmp_path_factory.mktemp("rendered")
    for name in NAMES:
        (folder / f"{name}.yaml").write_text(text(name), encoding="utf-8")
    ran = run(
        *("checkov", "--skip-download", "--quiet", "--framework", "kubernetes", "-o", "json", "-d", folder),
        timeout_s=300,
    )
    report = json.loads(ran.stdout)
    assert report["summary"]["passed"] > 300 * len(NAMES)
    found: dict[str, set[tuple[str, str, str]]] = {name: set() for name in NAMES}
    for check in report["results"]["failed_checks"]:
        found[Path(check["file_path"]).stem].add((check["check_id"], check["check_name"], check["resource"]))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_checkov_finds_nothing_but_what_has_a_reason(name: str, findings: dict[str, set[tuple[str, str, str]]]) -> None:
    assert {each for each in findings[name] if each[0] not in ACCEPTED} == set()


def test_every_reason_is_still_needed(findings: dict[str, set[tuple[str, str, str]]]) -> None:
    assert set(ACCEPTED) - {check for found in findings.values() for check, _, _ in found} == set()


@pytest.mark.parametrize("name", NAMES)
def test_processes_start_with_what_the_chart_renders(name: str, tmp_path: Path) -> None:
    found = documents(name)
    config = tmp_path / "goverse.yaml"
    config.write_text(named(found, "ConfigMap", "goverse-config")["data"]["goverse.yaml"], encoding="utf-8")
    secret = tmp_path / "secret"
    secret.write_text("a secret\n", encoding="utf-8")

    started = set[str]()
    for label, pod in pods(found):
        for container in containers(pod):
            settings = {
                variable: str(secret) if variable.endswith("_FILE") else value
                for variable, value in environment(container).items()
                if variable.startswith(("GOVERSE_", "POD_", "LOG_"))
            }
            if not settings:
                continue
            read = str(config) if "GOVERSE_CONFIG" in settings else ""
            values = load_settings(environ={**settings, "GOVERSE_CONFIG": read}).values
            started.add(f"{label}:{container['name']}")
            if container["name"] in ("node", "gate"):
                assert values.cluster.advertise == "10.1.2.3:7400"
                assert values.node.id == "goverse-node-0"
                assert values.etcd.options().endpoints
            if container["name"] == "gate":
                assert {"localhost", "10.1.2.3", "goverse-gate.objects.svc"} <= set(values.gate.allowed_hosts)
    assert {"StatefulSet/goverse-node:node", "Deployment/goverse-gate:gate"} <= started


@pytest.mark.requirement("SEC-3")
@pytest.mark.parametrize(("release", "name"), [("goverse", "goverse"), ("shop", "shop-goverse")])
def test_nodes_accept_only_the_certificates_of_gates_and_nodes_from_the_authority_of_the_chart(
    release: str, name: str
) -> None:
    values = ("--namespace", NAMESPACE, "--set", "app.image=x:1,tls.source=certManager")
    ran = run("helm", "template", release, CHART, *values)
    assert ran.returncode == 0, ran.stderr
    found = [document for document in yaml.safe_load_all(ran.stdout) if document]
    wire = yaml.safe_load(named(found, "ConfigMap", f"{name}-config")["data"]["goverse.yaml"])["wire"]
    roles = RoleNames(wire["tls_name"], wire["tls_gate_name"])

    def role(part: str) -> PeerRole:
        return roles.role_of(named(found, "Certificate", f"{name}-{part}")["spec"]["dnsNames"])

    assert (role("gate"), role("node")) == (PeerRole.GATE, PeerRole.NODE)
    for part in ("etcd", "postgres"):
        with pytest.raises(PeerError, match="neither the name of nodes"):
            role(part)


def test_with_existing_certificates_gates_need_no_name() -> None:
    config = yaml.safe_load(named(documents("existing-secrets"), "ConfigMap", "goverse-config")["data"]["goverse.yaml"])
    assert config["wire"]["tls_name"] == "goverse-node"
    assert "tls_gate_name" not in config["wire"]


@pytest.mark.parametrize("name", NAMES)
def test_files_that_settings_name_are_mounted(name: str) -> None:
    found = documents(name)
    config = named(found, "ConfigMap", "goverse-config")["data"]["goverse.yaml"]
    for label, pod in pods(found):
        for container in containers(pod):
            if container["name"] not in ("node", "gate"):
                continue
            mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
            said = config + str(environment(container))
            folders = ("tls", "etcd", "postgres", "postgres-password", "etcd-password")
            wanted = {f"/etc/goverse/{folder}" for folder in folders if f"/etc/goverse/{folder}/" in said}
            if container["name"] == "gate":
                wanted -= {"/etc/goverse/postgres"}  # it never connects to the database
            assert wanted <= mounts, label
            assert {mount["name"] for mount in container["volumeMounts"]} <= {
                volume["name"] for volume in pod["spec"]["volumes"]
            }


@pytest.mark.requirement("OPS-1")
@pytest.mark.parametrize("name", NAMES)
def test_every_pod_keeps_to_the_restricted_profile(name: str) -> None:
    for label, pod in pods(documents(name)):
        spec = pod["spec"]
        asks = "goverse_cli.pre_stop" in str(spec["containers"][0].get("lifecycle"))
        assert spec["automountServiceAccountToken"] is asks, label
        assert spec["securityContext"]["runAsNonRoot"] is True, label
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, label
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, label
            assert {"requests", "limits"} <= set(container["resources"]), label
            assert {"cpu", "memory"} <= set(container["resources"]["limits"]), label


@pytest.mark.requirement("OPS-4", "CLU-6")
@pytest.mark.parametrize("name", NAMES)
def test_a_draining_process_is_not_killed(name: str) -> None:
    found = documents(name)
    config = named(found, "ConfigMap", "goverse-config")["data"]["goverse.yaml"]
    settings = yaml.safe_load(config)
    pause, drain = settings["cluster"]["pre_stop_delay_s"], settings["gate"]["drain_timeout_s"]
    node = named(found, "StatefulSet", "goverse-node")["spec"]["template"]["spec"]
    gate = named(found, "Deployment", "goverse-gate")["spec"]["template"]["spec"]

    # A node moves its shards, gives up the rest, ends its streams and then its objects, each within its own time limit.
    assert int(node["terminationGracePeriodSeconds"]) > pause + 4 * drain
    assert int(gate["terminationGracePeriodSeconds"]) > pause + drain
    assert pause > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_the_configuration_restarts_processes(name: str) -> None:
    path = next(path for path in VALUES if path.stem == name)
    changed = template("--values", path, "--set", "config.node.mailbox_calls_max=7")
    assert changed.returncode == 0, changed.stderr
    before = dict(pods(documents(name)))
    after = dict(pods([document for document in yaml.safe_load_all(changed.stdout) if document]))
    for label in ("StatefulSet/goverse-node", "Deployment/goverse-gate"):
        key = "checksum/config"
        assert before[label]["metadata"]["annotations"][key] != after[label]["metadata"]["annotations"][key]
    for label in before.keys() & {"StatefulSet/goverse-etcd", "StatefulSet/goverse-postgres"}:
        assert before[label] == after[label], "the stores have nothing to do with it"
