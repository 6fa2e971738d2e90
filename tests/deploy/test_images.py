"""Checks of the Dockerfiles by hadolint, and of the alert rules by promtool."""

from __future__ import annotations

import subprocess

import pytest

from tests.deploy.rendering import CHART, run
from tests.tree import ROOT, repository_files, shown

pytestmark = pytest.mark.deploy

DOCKERFILES = [path for path in repository_files() if path.name == "Dockerfile"]


@pytest.mark.requirement("OPS-1")
@pytest.mark.parametrize("path", DOCKERFILES, ids=shown)
def test_hadolint_finds_nothing(path: str) -> None:
    ran = run("hadolint", path)

    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.requirement("OBS-1")
@pytest.mark.parametrize("what", [["check", "rules", CHART / "files" / "rules.yaml"], ["test", "rules", "rules.yaml"]])
def test_promtool_accepts_the_rules_and_alerts_fire_when_they_should(what: list[str]) -> None:
    ran = subprocess.run(
        ["promtool", *what],
        cwd=ROOT / "tests" / "deploy",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "FAILED" not in ran.stdout + ran.stderr
