"""The commands of getting started on Kubernetes work as written, if they need no cluster."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.deploy.rendering import program
from tests.docs.document import Mode, read_document
from tests.docs.walkthrough import walk_through
from tests.tree import ROOT, repository_files

pytestmark = [pytest.mark.deploy, pytest.mark.requirement("DOC-1")]

PAGE = ROOT / "docs" / "getting-started" / "kubernetes.md"
ACCEPTED_SKIPS = {"it needs a Kubernetes cluster", "it needs a container engine and a registry"}


def test_the_commands_that_need_no_cluster_work_as_written(tmp_path: Path) -> None:
    folder = tmp_path / "goverse"
    for path in repository_files():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    (folder / "my-objects").mkdir()
    tools = program("helm").resolve().parent

    steps = walk_through(PAGE, folder, env={"PATH": f"{tools}:{os.environ['PATH']}"})

    assert sum(len(step.commands) for step in steps if step.mode is not Mode.SKIP) == 7


def test_nothing_is_skipped_for_another_reason() -> None:
    assert {step.argument for step in read_document(PAGE) if step.mode is Mode.SKIP} == ACCEPTED_SKIPS


def test_the_file_that_it_writes_can_be_served(tmp_path: Path) -> None:
    from goverse.objects.application import load_application

    (step,) = [each for each in read_document(PAGE) if each.argument == "my-objects/counter.py"]
    file = tmp_path / "counter.py"
    file.write_text(step.content, encoding="utf-8")

    assert [spec.name for spec in load_application(str(file)).registry] == ["Counter"]
