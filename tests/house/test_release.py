"""A release has the same version everywhere, and its notes come from the changelog."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.tree import ROOT


def release(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "release" / "release.py", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.requirement("OPS-8")
@pytest.mark.parametrize(
    ("version", "semantic"), [("0.1.0.dev0", "0.1.0-dev.0"), ("0.1.0rc2", "0.1.0-rc.2"), ("1.10.3", "1.10.3")]
)
def test_versions_of_python_become_versions_of_charts(version: str, semantic: str) -> None:
    assert release("chart-version", version).stdout.strip() == semantic


@pytest.mark.requirement("OPS-8")
def test_all_places_say_the_same_version_and_another_tag_is_refused_with_all_of_them() -> None:
    refused = release("check", "v99.0.0")
    assert refused.returncode == 1
    said = {part.rpartition(" says ")[2].strip() for part in refused.stderr.partition(": ")[2].split(";")}
    assert len(refused.stderr.split(";")) == 5
    assert len(said) == 1, refused.stderr


@pytest.mark.requirement("OPS-8")
def test_notes_are_a_part_of_the_changelog_and_a_version_without_one_is_refused() -> None:
    told = release("notes", "Unreleased")
    assert told.returncode == 0
    assert told.stdout.startswith("### Added")
    assert "## [" not in told.stdout.replace("### ", "")
    missing = release("notes", "99.0.0")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "CHANGELOG.md has no section [99.0.0]" in missing.stderr


@pytest.mark.parametrize("words", [("check", "1.2.3"), ("chart-version", "1.2"), (), ("publish",)])
def test_invalid_arguments_are_refused(words: tuple[str, ...]) -> None:
    assert release(*words).returncode == 1
