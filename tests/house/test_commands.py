"""The verbs of the Makefile: all are explained, and the README and CI use the same ones."""

import os
import re
import subprocess

import pytest

from tests.tree import ROOT


def _words(name: str) -> list[str]:
    return [line.strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.system
def test_help_explains_every_verb() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, check=True, text=True, timeout=60).stdout

    verbs = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {*re.findall(r"^  make ([\w-]+) +\S", shown, re.MULTILINE), "static"} == set(verbs), (
        "static is a part of check"
    )


@pytest.mark.requirement("QUA-1")
def test_ci_runs_the_parts_of_check_and_the_last_is_the_test_command_of_the_readme() -> None:
    assert [line for line in _words(".ci/run") if line.startswith("make ")] == [
        "make static",
        "make test-system",
        "make test",
    ]
    assert any(line.startswith("check: static test-system test ##") for line in _words("Makefile"))
    assert "$ make test" in _words("README.md")


def test_scripts_can_be_executed_and_stop_at_the_first_failure() -> None:
    for path in [ROOT / ".ci" / "run", *(ROOT / "scripts").glob("*.sh")]:
        assert os.access(path, os.X_OK), f"{path.name} is not executable"
        assert "set -euo pipefail" in _words(str(path.relative_to(ROOT)))


def test_every_pinned_version_is_exact() -> None:
    pins = [line for line in _words("constraints.txt") if not line.startswith("#")]

    assert len(pins) > 50
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[\w.+!]+", pin)] == []
