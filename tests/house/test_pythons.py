"""The supported Python versions are the same in the metadata, the workflow, the scripts and the documentation."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.tree import ROOT

PROJECTS = ("pyproject.toml", "openapi/python/pyproject.toml")


def _range(project: str) -> tuple[int, int]:
    wanted = tomllib.loads((ROOT / project).read_text(encoding="utf-8"))["project"]["requires-python"]
    ends = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", wanted)
    assert ends is not None, f"{project}: {wanted!r} names no oldest and no newest version"
    return int(ends[1]), int(ends[2])


def _admitted() -> list[str]:
    oldest, beyond = _range("pyproject.toml")
    return [f"3.{minor}" for minor in range(oldest, beyond)]


@pytest.mark.parametrize("project", PROJECTS)
def test_the_metadata_names_the_versions_that_are_tested(project: str) -> None:
    told = tomllib.loads((ROOT / project).read_text(encoding="utf-8"))["project"]["classifiers"]

    assert _range(project) == _range("pyproject.toml")
    assert [line.rpartition(" ")[2] for line in told if re.search(r":: 3\.\d+$", line)] == _admitted()


def test_the_workflow_tests_every_admitted_version() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/check.yaml").read_text(encoding="utf-8"))

    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == _admitted()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/getting-started/README.md"])
def test_the_pages_name_the_admitted_versions(page: str) -> None:
    oldest, *_, newest = _admitted()

    assert f"Python {oldest} to {newest}" in (ROOT / page).read_text(encoding="utf-8")


def test_the_compatibility_page_lists_every_version() -> None:
    assert ", ".join(_admitted()) in (ROOT / "docs/guide/compatibility.md").read_text(encoding="utf-8")


@pytest.mark.system
def test_an_environment_is_refused_for_a_version_that_is_not_admitted(tmp_path: Path) -> None:
    older = tmp_path / "python3.10"
    older.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.10.0" || exit 1\n', encoding="ascii")
    older.chmod(0o755)

    ran = _run("scripts/environment.sh", str(tmp_path / "venv"), ".", PYTHON=str(older))

    assert ran.returncode == 1
    assert f"is Python 3.10.0. GoVerse needs Python {_admitted()[0]} to {_admitted()[-1]}" in ran.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.system
def test_a_version_that_was_asked_for_must_be_found(tmp_path: Path) -> None:
    ran = _run("scripts/pythons.sh", PYTHONS="3.99", PYENV_ROOT=str(tmp_path))

    assert (ran.returncode, ran.stderr) == (2, "Python 3.99 was requested but not found.\n")


@pytest.mark.system
def test_finding_no_version_is_a_failure(tmp_path: Path) -> None:
    """With an empty PATH and an empty pyenv, the verb must not report success although it tested nothing."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "sed", "sort"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")

    ran = _run("scripts/pythons.sh", PATH=str(tools), PYENV_ROOT=str(tmp_path))

    assert ran.returncode == 2
    assert ran.stderr == f"No Python from {_admitted()[0]} to {_admitted()[-1]} was found.\n"


@pytest.mark.system
def test_the_versions_that_are_not_installed_are_listed(tmp_path: Path) -> None:
    """One version is found, but its environment cannot be created. The others are not installed."""
    tools, found = tmp_path / "bin", tmp_path / "versions" / "3.12.9" / "bin" / "python"
    tools.mkdir()
    for tool in ("bash", "dirname", "sed", "sort"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    found.parent.mkdir(parents=True)
    found.write_text('#!/bin/bash\n[[ "$2" == *"%d.%d"* ]] && echo 3.12 || exit 1\n', encoding="ascii")
    found.chmod(0o755)

    ran = _run("scripts/pythons.sh", PYTHONS="", PATH=str(tools), PYENV_ROOT=str(tmp_path))

    others = " ".join(version for version in _admitted() if version != "3.12")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-1] == f"passed: none; failed: 3.12; not installed: {others}"


def _run(script: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/bash", str(ROOT / script), *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
