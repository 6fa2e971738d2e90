"""The end-to-end script with fake programs: it runs all its steps, and it can fail.

These tests do not show what a real cluster does; see docs/design/workflows.md.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.tree import ROOT

PROGRAMS = {
    "docker": "",
    "kind": "",
    "helm": "",
    "curl": "echo '{}'",
    "kubectl": (
        'case "$*" in *port-forward*) echo $$ >>"${0%/*}/forwards"; exec sleep 60 ;; *secret*) echo Y2E= ;; esac'
    ),
    "python": (
        'case "$*" in *tests.kind.load*) echo under load; trap "echo 7 calls; exit ${LOAD_STATUS:-0}" TERM; '
        "while :; do sleep 0.05; done ;; *) echo 2 ;; esac"
    ),
}


def run(folder: Path, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the script with fake programs; return its result and the commands that it ran."""
    log = folder / "commands"
    for name, body in PROGRAMS.items():
        path = folder / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>"{log}"\n{body}\n')
        path.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHON": str(folder / "python")}
    done = subprocess.run(
        [ROOT / "tests" / "kind" / "end_to_end.sh", "trial"],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done, log.read_text().splitlines()


def cmdline(pid: str) -> str:
    path = Path("/proc") / pid / "cmdline"
    return path.read_text() if path.exists() else ""


def test_all_steps_run_in_order(tmp_path: Path) -> None:
    done, commands = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("the end-to-end test passed")
    given = [command for command in commands if "kind-trial" in command or command.startswith(("docker", "kind"))]
    order = [
        "docker buildx build --load --file gate/Dockerfile",
        "kind load docker-image --name trial",
        "helm --kube-context kind-trial --namespace objects install goverse helm/goverse",
        "helm --kube-context kind-trial --namespace objects test goverse",
        "kubectl --context kind-trial --namespace objects delete pod goverse-node-1",
        "kubectl --context kind-trial --namespace objects delete pod goverse-node-0 --grace-period 0 --force",
        "helm --kube-context kind-trial --namespace objects upgrade goverse helm/goverse",
        "helm --kube-context kind-trial --namespace objects uninstall goverse",
    ]
    places = [next(place for place, command in enumerate(given) if command.startswith(step)) for step in order]
    assert places == sorted(places)
    assert sum("tests.kind.load" in command for command in commands) == 3
    forwards = (tmp_path / "forwards").read_text().split()
    left = [pid for pid in forwards if "sleep" in cmdline(pid)]
    assert forwards
    assert left == [], "the port-forward still runs"


@pytest.mark.parametrize("variables", [{"LOAD_STATUS": "1"}])
def test_a_call_that_fails_under_load_fails_the_script_which_prints_the_state_of_the_cluster(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    done, commands = run(tmp_path, **variables)
    assert done.returncode == 1
    assert "state of the cluster after the failure" in done.stdout
    assert any("get pods,jobs,events" in command for command in commands)
    assert not any("upgrade" in command for command in commands)
