"""Tests of the workflows with their schema and zizmor, and of the chart and names that the end-to-end test uses."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.rendering import program
from tests.tree import ROOT

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("OPS-8")]

TOOLS = ROOT / os.environ.get("CHAIN_TOOLS", ".chain-tools") / "bin"
WORKFLOWS = ROOT / ".github" / "workflows"
UNSAFE = """
on: pull_request_target
jobs:
  a:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v6
        with: { ref: "${{ github.event.pull_request.head.sha }}" }
      - run: echo ${{ github.event.pull_request.title }}
"""


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / name, *arguments], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )


def test_the_workflows_fit_the_schema_of_workflows(tmp_path: Path) -> None:
    done = tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *sorted(WORKFLOWS.glob("*.yaml")))
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("on: push\njobs: {a: {runs-on: x, step: []}}\n")
    assert tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", wrong).returncode == 1


def test_zizmor_finds_nothing_and_finds_what_is_planted(tmp_path: Path) -> None:
    done = tool("zizmor", "--offline", "--no-progress", ".github")
    assert done.returncode == 0, done.stdout
    planted = tmp_path / ".github" / "workflows"
    planted.mkdir(parents=True)
    (planted / "unsafe.yaml").write_text(UNSAFE)
    found = tool("zizmor", "--offline", "--no-progress", planted)
    assert found.returncode != 0
    for audit in ("dangerous-triggers", "template-injection", "unpinned-uses"):
        assert audit in found.stdout


def test_the_chart_of_the_end_to_end_test_renders_and_has_what_the_script_names() -> None:
    values = ROOT / "tests" / "kind" / "values.yaml"
    done = subprocess.run(
        [program("helm"), "template", "goverse", "helm/goverse", "--namespace", "objects", "--values", values],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    there = {
        f"{document['kind'].lower()}/{document['metadata']['name']}": document
        for document in yaml.safe_load_all(done.stdout)
        if document
    }
    script = (ROOT / "tests" / "kind" / "end_to_end.sh").read_text(encoding="utf-8").replace("$release", "goverse")
    named = set(re.findall(r"\b((?:service|statefulset|deployment)/goverse-[a-z-]+)", script))
    assert named == {"service/goverse-gate", "statefulset/goverse-node", "deployment/goverse-gate"}
    assert named | {"secret/goverse-gate-tls"} <= there.keys()
    assert 'secret "goverse-gate-tls"' in script
    assert [port["port"] for port in there["service/goverse-gate"]["spec"]["ports"]] == [443]
    assert there["statefulset/goverse-node"]["spec"]["replicas"] > 1
    assert "goverse-sample:kind" in done.stdout


def test_the_chart_of_a_release_names_the_images_of_the_release(tmp_path: Path) -> None:
    path = f"{program('helm').parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["scripts/release/chart.sh", "0.1.0rc1", "registry.example/goverse"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    package = ROOT / "dist" / "chart" / "goverse-0.1.0-rc.1.tgz"
    shown = subprocess.run(
        [program("helm"), "template", "goverse", package, "--set", "app.image=mine:1"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "registry.example/goverse/goverse-gate:0.1.0rc1" in shown
    assert "registry.example/goverse/goverse-tools:0.1.0rc1" in shown
    assert 'helm.sh/chart: "goverse-0.1.0-rc.1"' in shown
