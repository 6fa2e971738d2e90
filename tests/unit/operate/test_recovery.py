"""Restores on a cluster that does not respond or refuses: no step runs twice, and errors say how to continue."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.operate import jobs, restoring
from scripts.operate.__main__ import main

pytestmark = pytest.mark.requirement("OPS-9")

STOPPED = "gates and nodes are stopped"
PLAY = """
import json, pathlib, sys
words, folder = sys.argv[1:], pathlib.Path(__file__).parent
said = " ".join(words)
with (folder / "asked").open("a") as file:
    file.write(said + "\\n")
plan = json.loads((folder / "plan.json").read_text())
for trouble in plan["troubles"]:
    if trouble["at"] in said and trouble["times"]:
        trouble["times"] -= 1
        (folder / "plan.json").write_text(json.dumps(plan))
        sys.exit(trouble.get("said", "Unable to connect to the server: net/http: TLS handshake timeout"))
for at, answer in plan["answers"].items():
    if at in said:
        print(answer if isinstance(answer, str) else json.dumps(answer))
        break
"""


def workload(kind: str, part: str) -> dict[str, Any]:
    metadata = {"name": f"goverse-{part}", "labels": {"app.kubernetes.io/component": part}}
    return {
        "kind": kind,
        "metadata": {**metadata, "annotations": {restoring.REMEMBERED: "3"}},
        "spec": {"replicas": 0},
    }


def cronjob(name: str) -> dict[str, Any]:
    environment = [{"name": "DSN", "value": "postgresql://x"}, {"name": "FOLDER", "value": "/backup/goverse"}]
    pod = {
        "initContainers": [{"name": "dump", "env": environment, "volumeMounts": []}],
        "containers": [{"name": "keep", "image": "tools"}],
        "volumes": [],
    }
    spec = {"jobTemplate": {"spec": {"template": {"spec": pod}}}}
    return {"metadata": {"name": name, "namespace": "default", "labels": {}}, "spec": spec}


def ended(condition: str) -> dict[str, Any]:
    return {"status": {"conditions": [{"type": condition, "status": "True", "message": "so it ended"}]}}


@dataclass
class Cluster:
    """A fake kubectl that answers like a cluster with a stopped release."""

    folder: Path
    answers: dict[str, Any]

    def has(self, *troubles: dict[str, Any], **answers: Any) -> None:
        """Let commands fail a number of times, and add answers."""
        known = {**{at.replace("_", " "): answer for at, answer in answers.items()}, **self.answers}
        plan = {"troubles": troubles, "answers": known}
        (self.folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")

    def asked(self, words: str) -> int:
        """Return how often a command with these words was run."""
        path = self.folder / "asked"
        return path.read_text(encoding="utf-8").count(words) if path.exists() else 0


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster with a stopped release."""
    play = tmp_path / "kubectl"
    play.write_text(f"#!{sys.executable}\n{PLAY}", encoding="utf-8")
    play.chmod(0o755)
    monkeypatch.setenv("OPERATE_KUBECTL", str(play))
    monkeypatch.setattr(jobs, "_PAUSE_S", 0.01)
    monkeypatch.setattr(jobs, "TROUBLE_S", 5.0)
    answers: dict[str, Any] = {
        "get cronjobs": {"items": [cronjob("goverse-backup-postgres")]},
        "get statefulsets": {"items": [workload("StatefulSet", "node"), workload("Deployment", "gate")]},
        "get pods": {"items": []},
        "get jobs": {"items": []},
        "get job ": ended("Complete"),
        "logs": "log",
    }
    made = Cluster(tmp_path, answers)
    made.has()
    return made


def restore(*words: str) -> int:
    return main(["restore", "goverse", *words])


DUMP = ("--dump", "postgres-20260501T021700Z", "--yes", "goverse")


@pytest.mark.parametrize("at", ["get job ", "logs", "create", "scale deployment"])
def test_a_cluster_that_does_not_respond_for_a_while_is_tolerated(stopped: Cluster, at: str) -> None:
    stopped.has({"at": at, "times": 2})

    assert restore(*DUMP) == 0
    assert stopped.asked("--replicas=3") >= 2


def test_a_job_whose_creation_was_not_answered_is_created_once(stopped: Cluster) -> None:
    there = 'Error from server (AlreadyExists): jobs.batch "x" already exists'
    stopped.has({"at": "create", "times": 1}, {"at": "create", "times": 1, "said": there})

    assert restore(*DUMP, "--no-migrate") == 0


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("get job ", 'Error from server (NotFound): jobs.batch "x" not found'),
        ("scale", "Error from server (Forbidden): no"),
        ("create", "Error from server (Invalid): no"),
        ("get pods", "Error from server (Forbidden): no"),
    ],
)
def test_each_failure_says_that_gates_and_nodes_are_stopped_and_how_to_continue(
    stopped: Cluster, capsys: pytest.CaptureFixture[str], at: str, said: str
) -> None:
    stopped.has({"at": at, "times": 99, "said": said})

    assert restore(*DUMP) == 1
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert STOPPED in said
    assert "restore goverse --namespace default --start" in said
    assert "--dump postgres-20260501T021700Z" in said


def test_after_a_failed_job_gates_and_nodes_stay_stopped(stopped: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    stopped.answers["get job "] = ended("Failed")
    stopped.has()

    assert restore(*DUMP) == 1
    said = capsys.readouterr().err
    assert "so it ended" in said
    assert STOPPED in said
    assert stopped.asked("scale") == 0


@pytest.mark.parametrize("words", [DUMP, ("--start",)])
def test_nothing_else_starts_during_a_restore(
    stopped: Cluster, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    job = restoring.restore_job(cronjob("goverse-backup-postgres"), "postgres-20260501T021700Z", "20260501")
    stopped.answers["get jobs"] = {"items": [job]}
    stopped.has()
    assert restore(*words) == 1
    assert "no_restore_runs" in capsys.readouterr().out
    assert stopped.asked("create") == stopped.asked("scale") == 0

    stopped.answers["get jobs"] = {"items": [{**job, **ended("Failed")}]}
    stopped.has()
    assert restore(*words) == 0


def test_the_start_can_run_without_a_restore(stopped: Cluster) -> None:
    assert restore("--start") == 0
    assert (stopped.asked("create"), stopped.asked("--replicas=3")) == (0, 2)


@pytest.mark.parametrize(("words", "made"), [(("--no-start",), 2), (("--no-migrate",), 1)])
def test_a_restore_can_skip_the_start_or_the_migration(
    stopped: Cluster, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], made: int
) -> None:
    assert restore(*DUMP, *words) == 0
    assert (stopped.asked("create"), stopped.asked("scale")) == (made, 0)
    assert STOPPED in capsys.readouterr().out


def test_jobs_of_releases_with_long_names_keep_their_time_apart() -> None:
    names = set[str]()
    for kind in ("postgres", "etcd"):
        long = cronjob(f"shop-production-eu-west-1-goverse-00001-backup-{kind}")
        for moment in ("20261121180641", "20261121190715"):
            made = (restoring.backup_job(long, moment), restoring.restore_job(long, "postgres-x", moment))
            names |= {job["metadata"]["name"] for job in made}
            assert [job["metadata"]["labels"][restoring.PURPOSE] for job in made] == ["now", "restore"]

    assert len(names) == 8
    assert all(len(name) <= 63 for name in names)
