"""Rules for workflows: pinned actions, minimal permissions, timeouts, and calls of existing verbs and scripts only.

Workflows contain no logic. They run verbs of the Makefile or scripts, which also run on any other machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tree import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yaml"))
NAMES = [path.stem for path in WORKFLOWS]

PINNED = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
OURS = re.compile(r"(?<![\w./-])((?:\.ci|scripts|tests)/[\w./-]+)")
UNTRUSTED = re.compile(r"\$\{\{")
LINES_MAX = 3
"""Lines of one `run` step. A longer step is logic, which belongs in a script."""

Job = dict[str, Any]


def loaded(text: str) -> dict[str, Any]:
    document = yaml.safe_load(text)
    document["on"] = document.pop(True, document.get("on"))  # YAML reads `on` as true
    return document  # type: ignore[no-any-return]


def complaints(text: str) -> Iterator[str]:
    """Return all violations of the rules in a workflow."""
    document = loaded(text)
    if document.get("permissions") != {}:
        yield "permissions: {} is not at the top"
    if "concurrency" not in document:
        yield "no concurrency group"
    if {"pull_request_target", "workflow_run"} & set(document["on"]):
        yield "runs code of a pull request with our permissions"
    for line in text.splitlines():
        used = re.match(r"\s*-?\s*uses: (.*)", line)
        if used and not used[1].startswith("./") and not PINNED.match(used[1]):
            yield f"not pinned by hash with its version: {used[1]}"
    for name, job in document["jobs"].items():
        yield from (f"{name}: {wrong}" for wrong in job_complaints(job))


def job_complaints(job: Job) -> Iterator[str]:
    if "permissions" not in job:
        yield "no permissions"
    elif not isinstance(job["permissions"], dict) or "write-all" in job["permissions"].values():
        yield "all permissions"
    if "uses" in job:
        if not (ROOT / job["uses"]).is_file():
            yield f"calls {job['uses']}, which does not exist"
        return
    if not isinstance(job.get("timeout-minutes"), int):
        yield "no timeout"
    for step in job["steps"]:
        yield from step_complaints(step)


def step_complaints(step: dict[str, Any]) -> Iterator[str]:
    command = str(step.get("run", ""))
    if UNTRUSTED.search(command):
        yield f"an expression inside a command: {command}"
    if len(command.strip().splitlines()) > LINES_MAX:
        yield f"logic in a workflow: {command}"
    if str(step.get("uses", "")).startswith("actions/checkout") and step["with"]["persist-credentials"] is not False:
        yield "leaves the token in the checkout"
    for verb in re.findall(r"\bmake ([\w./-]+)", command):
        if verb not in targets():
            yield f"make {verb}, which is not a verb"
    for name in OURS.findall(command):
        if not (ROOT / name).exists():
            yield f"{name}, which does not exist"


def targets() -> set[str]:
    """Return the verbs of the Makefile and the stamp files that it creates."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^([a-z][\w-]*):", text, re.MULTILINE))
    return verbs | {f".venv/{name}" for name in re.findall(r":= \$\(VENV\)/(\.installed-\w+)", text)}


@pytest.mark.requirement("OPS-8")
@pytest.mark.parametrize("path", WORKFLOWS, ids=NAMES)
def test_a_workflow_is_pinned_and_bounded_and_calls_only_what_exists(path: Path) -> None:
    assert list(complaints(path.read_text(encoding="utf-8"))) == []


GOOD = """
on: push
permissions: {}
concurrency: {group: a}
jobs:
  a:
    permissions: {contents: read}
    timeout-minutes: 5
    steps:
      - uses: actions/setup-python@a309ff8b426b58ec0e2a45f0f869d46889d02405 # v6.2.0
      - run: make test
      - run: .ci/run
"""


@pytest.mark.requirement("OPS-8")
@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("@a309ff8b426b58ec0e2a45f0f869d46889d02405 # v6.2.0", "@v6", "not pinned by hash"),
        (" # v6.2.0", "", "not pinned by hash"),
        ("permissions: {}", "permissions: {contents: read}", "permissions: {} is not at the top"),
        ("    permissions: {contents: read}\n", "", "a: no permissions"),
        ("    permissions: {contents: read}\n", "    permissions: write-all\n", "a: all permissions"),
        ("    timeout-minutes: 5\n", "", "a: no timeout"),
        ("make test", "make tests", "make tests, which is not a verb"),
        (".ci/run", "scripts/nothing.sh --now", "scripts/nothing.sh, which does not exist"),
        ("make test", "echo ${{ github.head_ref }}", "an expression inside a command"),
        ("on: push", "on: [pull_request_target]", "runs code of a pull request"),
        ("concurrency: {group: a}\n", "", "no concurrency group"),
        ("make test", "|\n          a\n          b\n          c\n          d", "logic in a workflow"),
    ],
)
def test_each_violation_in_a_workflow_is_reported(before: str, after: str, complaint: str) -> None:
    assert list(complaints(GOOD)) == []
    assert before in GOOD
    assert any(complaint in found for found in complaints(GOOD.replace(before, after, 1)))


def test_one_action_has_one_version_in_all_workflows() -> None:
    used = {
        line.strip().removeprefix("- ").removeprefix("uses: ")
        for path in WORKFLOWS
        for line in path.read_text(encoding="utf-8").splitlines()
        if "uses: " in line and "./" not in line
    }
    assert len({line.partition("@")[0] for line in used}) == len(used)


@pytest.mark.requirement("OPS-8")
def test_a_release_waits_for_every_check_before_anything_leaves() -> None:
    jobs: dict[str, Job] = loaded((FOLDER / "release.yaml").read_text(encoding="utf-8"))["jobs"]

    def before(name: str) -> set[str]:
        needs = set(jobs[name].get("needs", []))
        return needs.union(*(before(other) for other in needs))

    checks = {"check", "images-scanned", "kind", "build"}
    publishing = {name for name, job in jobs.items() if "write" in job["permissions"].values()}
    assert publishing == {"images", "chart", "python", "npm", "github"}
    for name in publishing:
        assert checks <= before(name), name
        assert jobs[name]["environment"] == "release"
