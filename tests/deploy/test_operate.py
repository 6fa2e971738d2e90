"""Tests of the operator's tool with real kubectl and Helm on an in-memory API server, backed by a real cluster.

Not covered is the behaviour of a real cluster: starting Pods, running Jobs, and Helm waiting for them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from benchmarks.postgres import BINARIES, server
from scripts.operate import restoring
from scripts.operate.__main__ import main
from scripts.operate.looking import CHART, app_version
from scripts.operate.programs import Programs
from tests.cluster_processes import Processes, Shape, cluster
from tests.deploy.api_server import ApiServer, Document, api_server, release_secret
from tests.deploy.rendering import NAMESPACE, program, template
from tests.tree import ROOT

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-9")]

VALUES: Document = {"app": {"image": "registry.example/shop:1"}, "backups": {"enabled": True}}
VALUES |= {"nodes": {"replicas": 2}, "gates": {"replicas": 1}, "tls": {"enabled": False}}
PODS = (("node", "goverse-node-0"), ("node", "goverse-node-1"), ("gate", "goverse-gate-a"))
SECRET = "swordfish-swordfish"


def pod(part: str, name: str, release: str) -> Document:
    """Return a ready Pod."""
    labels = {
        "app.kubernetes.io/instance": "goverse",
        "app.kubernetes.io/component": part,
        "app.kubernetes.io/version": release,
    }
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    spec = {"containers": [{"name": part, "image": "x", "env": [{"name": "DB_PASSWORD", "value": SECRET}]}]}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def helm_owns(document: Document) -> Document:
    """Return an object with Helm's ownership metadata."""
    owner = {"meta.helm.sh/release-name": "goverse", "meta.helm.sh/release-namespace": NAMESPACE}
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **owner}}}


def settle(document: Document) -> None:
    """Set the status that Kubernetes' controllers would give an object, immediately."""
    kind, generation = document["kind"], document["metadata"].get("generation", 1)
    document["metadata"]["generation"] = generation
    if kind in ("Deployment", "StatefulSet"):
        count = document["spec"].setdefault("replicas", 1)
        counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "currentReplicas")
        conditions = [{"type": "Available", "status": "True"}]
        conditions += [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]
        status = {**dict.fromkeys(counts, count), "observedGeneration": generation, "conditions": conditions}
        document["status"] = status | {"currentRevision": "a", "updateRevision": "a"}
    elif kind == "Job":
        document["status"] = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
    elif kind == "Pod":
        document["status"] = {"phase": "Succeeded"}
    elif kind == "PersistentVolumeClaim":
        document["status"] = {"phase": "Bound"}
    elif kind == "PodDisruptionBudget":
        document["status"] = {"observedGeneration": generation, "disruptionsAllowed": 1}


def fill(api: ApiServer, release: str, folder: Path) -> None:
    """Fill the server with a healthy release."""
    values = folder / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES), encoding="utf-8")
    made = template("--values", values)
    assert made.returncode == 0, made.stderr
    lasting: list[Document] = []
    for document in filter(None, yaml.safe_load_all(made.stdout)):
        if "helm.sh/hook" not in document["metadata"].get("annotations", {}):
            document["metadata"]["namespace"] = NAMESPACE
            lasting.append(document)
            owned = helm_owns(document)
            settle(owned)
            api.put(owned)
    for document in api.of("CronJob"):
        document["status"] = {"lastSuccessfulTime": f"{datetime.now(UTC) - timedelta(hours=3):%Y-%m-%dT%H:%M:%SZ}"}
    api.put(
        release_secret("goverse", NAMESPACE, app_version=release, values=VALUES, manifest=yaml.safe_dump_all(lasting))
    )
    api.put(*(pod(part, name, release) for part, name in PODS))


@pytest.fixture(scope="module")
def release() -> str:
    """The version that the chart of this tree installs."""
    return app_version(Programs("goverse", NAMESPACE), CHART)


@pytest.fixture(autouse=True, scope="module")
def programs() -> Iterator[None]:
    """Use the programs of scripts/deploy_tools.sh."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPERATE_HELM", str(program("helm")))
        patch.setenv("OPERATE_KUBECTL", str(program("kubectl")))
        yield


@pytest.fixture
def api(tmp_path: Path, release: str) -> Iterator[ApiServer]:
    """A server with the release, without running processes."""
    with api_server(tmp_path) as running:
        fill(running, release, tmp_path)
        yield running


def operate(api: ApiServer, command: str, *words: str) -> int:
    """Run a command of the tool on the release."""
    return main([command, "goverse", "-n", NAMESPACE, "--kubeconfig", str(api.kubeconfig), *words])


def findings(told: str) -> dict[str, str]:
    """Return the severity of each finding by code."""
    (line,) = [each for each in told.splitlines() if each.startswith('{"findings"')]
    return {each["code"]: each["weight"] for each in json.loads(line)["findings"]}


# --- on a running cluster ---------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Processes]:
    """Two nodes and a gate."""
    async with cluster(tmp_path_factory.mktemp("cluster"), Shape(nodes=2, shards=16)) as running:
        async with running.client(30.0) as client:
            answer = await client.post(f"{running.url}/objects/Counter/c1/call/increment")
            assert answer.status_code == 200, answer.text
        yield running


def inside(processes: Processes) -> Any:
    """Return a function that runs a command of a Pod against the process that represents it."""
    nodes = json.loads(processes.command("-o", "json", "nodes", "list"))
    admin = {f"goverse-node-{at}": each["admin"].removeprefix("http://") for at, each in enumerate(nodes.values())}
    gate = processes.url.rpartition(":")[2]

    def execute(pod: str, container: str, words: Sequence[str]) -> tuple[int, str, str]:
        command = [each.replace("localhost:8000", f"localhost:{gate}") for each in words[1:]]
        command = ["-m", "goverse_cli", *command] if words[0].endswith("goverse") else command
        settings = {"GOVERSE_GATE__PORT": gate, "GOVERSE_CLUSTER__ADMIN_LISTEN": admin.get(pod, "")}
        ran = subprocess.run(
            [sys.executable, *command],
            env={**processes.environment, **{name: value for name, value in settings.items() if value}},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr

    return execute


@pytest.mark.asyncio(loop_scope="module")
async def test_before_an_upgrade_a_healthy_cluster_passes_and_problems_are_reported(
    api: ApiServer, processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    api.execute = inside(processes)
    assert await asyncio.to_thread(operate, api, "upgrade", "--check-only", "--json") == 0
    told = findings(capsys.readouterr().out)
    assert {code for code, weight in told.items() if weight == "ok"} >= {
        *("release_settled", "versions_compatible", "values_valid", "pods_ready", "nodes_alike", "shards_claimed"),
        *("budgets_leave_room", "schema_current", "migrations_pending", "backup_recent"),
    }

    api.of("PodDisruptionBudget")[0]["status"]["disruptionsAllowed"] = 0
    words = ("--check-only", "--json", "--set", "nodes.shutdown=slowly")
    assert await asyncio.to_thread(operate, api, "upgrade", *words) == 1
    blocked = {code for code, weight in findings(capsys.readouterr().out).items() if weight == "blocks"}
    assert blocked == {"budgets_leave_room", "values_valid"}
    assert not [path for method, path in api.asked if method != "GET"], "a check changes nothing"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_release_is_validated_with_its_metrics_and_a_call(
    api: ApiServer, processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    api.execute = inside(processes)
    api.raw["/api/v1/namespaces/monitoring/services/http:prometheus:9090/proxy/api/v1/alerts"] = {
        "status": "success",
        "data": {
            "alerts": [
                {"labels": {"alertname": "GoVerseNoLeader", "namespace": NAMESPACE}, "state": "firing"},
                {"labels": {"alertname": "GoVerseCallsSlow", "namespace": "other"}, "state": "firing"},
            ]
        },
    }
    words: tuple[str, ...] = ("--json", "--window-s", "0", "--call", "Counter", "c1", "increment")
    words += ("--prometheus", "monitoring/prometheus:9090")
    assert await asyncio.to_thread(operate, api, "validate", *words) == 1
    told = findings(capsys.readouterr().out)

    assert told["processes_ready"] == told["shards_claimed"] == told["errors_few"] == told["call_answered"] == "ok"
    assert told["alerts_silent"] == "blocks"


def image_of_the_nodes(api: ApiServer) -> str:
    """Return the image of the StatefulSet."""
    return str(api.objects["statefulsets", "goverse-node"]["spec"]["template"]["spec"]["containers"][0]["image"])


@pytest.mark.asyncio(loop_scope="module")
async def test_a_release_is_deployed_and_then_upgraded_by_helm(
    tmp_path: Path, processes: Processes, release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES), encoding="utf-8")
    asking = ("--json", "--window-s", "0", "--call", "Counter", "d", "increment")
    quick = (*asking, "--settle-s", "0", "--patience-s", "60")
    with api_server(tmp_path) as api:
        api.execute = inside(processes)
        api.created = settle
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        assert await asyncio.to_thread(operate, api, "deploy", "--values", str(values), *quick) == 1
        assert "pods_ready" in capsys.readouterr().out, "no controller created the Pods of the StatefulSet"

        api.put(*(pod(part, name, release) for part, name in PODS))
        for cronjob in api.of("CronJob"):
            cronjob["status"] = {"lastSuccessfulTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        assert image_of_the_nodes(api) == "registry.example/shop:1"
        words = ("--set", "app.image=registry.example/shop:2", *quick)
        assert await asyncio.to_thread(operate, api, "upgrade", *words) == 0
        before, after = (line for line in capsys.readouterr().out.splitlines() if line.startswith("{"))
        assert await asyncio.to_thread(operate, api, "validate", *asking) == 0
        assert findings(capsys.readouterr().out)["helm_test"] == "ok"

    assert image_of_the_nodes(api) == "registry.example/shop:2"
    assert findings(before)["values_valid"] == "ok"
    assert set(findings(after)) == {
        *("all_updated", "pods_ready", "nodes_of_release", "shards_claimed", "schema_current", "errors_few"),
        "call_answered",
    }
    assert [each["metadata"]["labels"]["status"] for each in api.of("Secret") if "helm" in each.get("type", "")] == [
        "superseded",
        "deployed",
    ]


def unpacked(folder: Path) -> dict[str, str]:
    """Return the files of the one archive, which only its owner may read."""
    (path,) = folder.glob("*.tar.gz")
    assert path.stat().st_mode & 0o077 == 0
    with tarfile.open(path) as archive:
        files = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive.getmembers()}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_bundle_has_what_is_needed_and_no_secret(
    api: ApiServer, processes: Processes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.execute = inside(processes)
    api.logs["goverse-node-0"] = f"connecting to postgresql://goverse:{SECRET}@db/goverse\nall well\n"
    assert await asyncio.to_thread(operate, api, "debug", "--folder", str(tmp_path)) == 0

    texts = unpacked(tmp_path)
    assert {"leader", "state"} <= set(next(iter(json.loads(texts["cluster/nodes.json"]).values())))
    assert json.loads(texts["cluster/shards.json"])["claimed"] == 16
    assert json.loads(texts["pods/goverse-node-1/readyz.json"])["reasons"] == []
    assert "goverse_shards_wanted" in texts["pods/goverse-node-0/metrics.txt"]
    assert "goverse.yaml" in texts["objects/configmaps.json"]
    assert "all well" in texts["pods/goverse-node-0/log.txt"]
    assert texts["missing.txt"] == "", capsys.readouterr().out
    assert not [name for name, text in texts.items() if SECRET in text]
    assert not [path for _, path in api.asked if path.endswith("/secrets/goverse-postgres")]


# --- without a cluster ------------------------------------------------------------------------------------------------


def test_what_cannot_be_seen_stops_an_upgrade_and_is_in_the_bundle_as_missing(
    api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operate(api, "upgrade", "--json") == 1
    told = findings(capsys.readouterr().out)
    assert {code for code, weight in told.items() if weight == "blocks"} >= {"nodes_alike", "shards_claimed"}

    assert operate(api, "debug", "--folder", str(tmp_path)) == 0
    assert "missing cluster/nodes.json: kubectl" in capsys.readouterr().out


def test_an_existing_release_is_not_deployed_again(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert operate(api, "deploy", "--json", "--check-only", "--set", "app.image=x:1") == 1
    assert findings(capsys.readouterr().out)["release_new"] == "blocks"

    del api.objects["secrets", "sh.helm.release.v1.goverse.v1"]
    assert operate(api, "deploy", "--json", "--check-only", "--set", "app.image=x:1") == 0
    assert set(findings(capsys.readouterr().out).values()) == {"ok"}

    api.version["minor"] = "28+"
    assert operate(api, "deploy", "--json", "--check-only", "--set", "app.image=") == 1
    told = findings(capsys.readouterr().out)
    assert told["kubernetes_new_enough"] == told["values_valid"] == "blocks"


def finish(api: ApiServer, *, condition: str = "Complete") -> list[Document]:
    """End Jobs as soon as they are created, and return the list that collects them."""
    made: list[Document] = []

    def created(document: Document) -> None:
        if document["kind"] == "Job":
            made.append(document)
            name = document["metadata"]["name"]
            document["status"] = {"conditions": [{"type": condition, "status": "True", "message": "so it ended"}]}
            document["spec"]["selector"] = {"matchLabels": {"job-name": name}}
            labels = {"job-name": name}
            api.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{name}-x", "labels": labels}})
            api.objects["pods", f"{name}-x"] |= {
                "spec": document["spec"]["template"]["spec"],
                "status": {"phase": "Succeeded"},
            }
            api.logs[f"{name}-x"] = f"log of {name}\n"

    api.created = created
    return made


def test_a_backup_is_a_job_of_each_cronjob(api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = finish(api)
    assert operate(api, "backup") == 0

    assert [each["metadata"]["name"].rpartition("-now-")[0] for each in made] == [
        "goverse-backup-etcd",
        "goverse-backup-postgres",
    ]
    assert capsys.readouterr().out.count("log of goverse-backup-") == 2 * 3  # prepare, dump and keep
    check_valid(made, tmp_path)


def test_a_failed_backup_is_reported_with_the_end_of_its_log(
    api: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(api, condition="Failed")
    assert operate(api, "backup") == 1
    told = capsys.readouterr().err
    assert "so it ended" in told
    assert "log of goverse-backup-etcd" in told


def test_a_restore_requires_stopped_processes_and_a_confirmation(
    api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = finish(api)
    dump = ("--dump", "postgres-20260501T021700Z", "--yes", "goverse")
    assert operate(api, "restore", "--json", *dump) == 1
    assert findings(capsys.readouterr().out) == {
        "dump_whole": "ok",
        "nobody_serves": "blocks",
        "no_restore_runs": "ok",
    }

    for name in ("goverse-node-0", "goverse-node-1", "goverse-gate-a"):  # as Kubernetes would after scaling
        del api.objects["pods", name]
    assert operate(api, "restore", "--json", *dump) == 1, (
        "the replicas are still configured, so Kubernetes would restart them"
    )
    capsys.readouterr()

    assert operate(api, "restore", "--stop") == 1, "there is no terminal to confirm on"
    assert "--yes goverse" in capsys.readouterr().err
    assert operate(api, "restore", "--stop", "--yes", "goverse") == 0
    workloads = {"statefulsets": "goverse-node", "deployments": "goverse-gate"}
    assert [api.objects[kind, name]["spec"]["replicas"] for kind, name in workloads.items()] == [0, 0]
    assert operate(api, "restore", "--stop", "--yes", "goverse") == 0, "a second stop keeps the recorded replicas"

    assert operate(api, "restore", "--dump", "postgres.partial", "--yes", "goverse") == 1
    assert operate(api, "restore", "--dump", "postgres-20260501T021700Z", "--yes", "gooseverse") == 1
    assert made == []

    assert operate(api, "restore", *dump) == 0
    restoring_job, verifying = made
    assert "postgres-20260501T021700Z" in json.dumps(restoring_job)
    assert [each["args"][1] for each in verifying["spec"]["template"]["spec"]["initContainers"]] == ["migrate"]
    assert [each["args"][1] for each in verifying["spec"]["template"]["spec"]["containers"]] == ["verify"]
    assert [api.objects[kind, name]["spec"]["replicas"] for kind, name in workloads.items()] == [2, 1]
    check_valid(made, tmp_path)


def test_a_failed_restore_leaves_gates_and_nodes_stopped(api: ApiServer) -> None:
    assert [api.objects.pop(("pods", name)) for name in ("goverse-node-0", "goverse-node-1", "goverse-gate-a")]
    assert operate(api, "restore", "--stop", "--yes", "goverse") == 0
    made = finish(api, condition="Failed")
    assert operate(api, "restore", "--dump", "postgres-20260501T021700Z", "--yes", "goverse") == 1

    assert len(made) == 1
    assert api.objects["statefulsets", "goverse-node"]["spec"]["replicas"] == 0


def test_the_dumps_that_there_are_can_be_listed(
    api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = finish(api)
    assert operate(api, "restore", "--list") == 0
    assert "log of goverse-backup-postgres-list-" in capsys.readouterr().out
    check_valid(made, tmp_path)


def check_valid(made: Sequence[Document], folder: Path) -> None:
    """Validate Jobs against the schemas of Kubernetes."""
    for document in made:
        sent = {name: value for name, value in document.items() if name != "status"}
        sent["spec"] = {name: value for name, value in sent["spec"].items() if name != "selector"}
        path = folder / "job.yaml"
        path.write_text(yaml.safe_dump(sent), encoding="utf-8")
        ran = subprocess.run(
            [program("kubernetes-validate"), "--strict", path], capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_command_of_the_restore_brings_a_database_back_as_its_own_role(api: ApiServer, tmp_path: Path) -> None:
    (cronjob,) = [each for each in api.of("CronJob") if each["metadata"]["name"].endswith("-postgres")]
    job = restoring.restore_job(cronjob, "postgres-20260501T021700Z", "now")
    container = job["spec"]["template"]["spec"]["containers"][0]
    password = tmp_path / "password"
    password.write_text(SECRET, encoding="utf-8")

    def run(*words: str, **variables: str) -> str:
        roots = os.pathsep.join(str(ROOT / root) for root in ("shared", "node", "gate", "cli"))
        path = f"{BINARIES[-1]}:{os.environ['PATH']}"
        known = {**os.environ, "PATH": path, "PYTHONPATH": roots, "PGPASSWORD": SECRET, **variables}
        ran = subprocess.run(words, env=known, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    with server(Path(tempfile.gettempdir())) as postgres:
        dsn = postgres.dsn.replace("postgres@", "goverse@").replace("/postgres", "/goverse")
        settings = {"GOVERSE_POSTGRES__DSN": dsn, "GOVERSE_POSTGRES__PASSWORD_FILE": str(password)}
        cli = (sys.executable, "-m", "goverse_cli", "db")
        run(*cli, "init", "--admin-dsn", postgres.dsn, **settings)
        run("psql", dsn, "-qc", "INSERT INTO goverse.kinds (number, namespace, type) VALUES (7, 'default', 'Kept')")
        dump = tmp_path / "postgres-20260501T021700Z"
        run("pg_dump", "--format=custom", "--no-password", f"--file={dump}", f"--dbname={dsn}")
        run("psql", dsn, "-qc", "DELETE FROM goverse.kinds")

        bash, flag, script = container["command"]
        script = script.replace("/etc/goverse/postgres-password/password", str(password))
        (asked,) = [each["value"] for each in container["env"] if each["name"] == "DUMP"]
        assert asked == f"/backup/goverse/{dump.name}"
        run("psql", dsn, "-qc", "CREATE TABLE goverse.changes_of_tomorrow ()")
        run(bash, flag, script, DSN=dsn, DUMP=str(dump))

        assert run("psql", dsn, "-Atc", "SELECT type FROM goverse.kinds").split() == ["Kept"]
        assert "ok" in run(*cli, "verify", **settings)
        assert run("psql", dsn, "-Atc", "SELECT to_regclass('goverse.changes_of_tomorrow') IS NULL").strip() == "t"

        torn = tmp_path / "postgres-20260502T021700Z"
        torn.write_bytes(dump.read_bytes()[:-400])
        ran = subprocess.run(
            [bash, flag, script],
            env={**os.environ, "PATH": f"{BINARIES[-1]}:{os.environ['PATH']}", "DSN": dsn, "DUMP": str(torn)},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode != 0
        assert run("psql", dsn, "-Atc", "SELECT type FROM goverse.kinds").split() == ["Kept"], (
            "an incomplete dump changes nothing"
        )
