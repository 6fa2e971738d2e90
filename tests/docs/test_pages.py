"""Every command of the README and of the getting-started pages works as written.

Each page runs from its top in its own copy of the repository, without an environment, as on a fresh machine. Only the
port differs, so that the tests can run while a developer's server uses the default port.
"""

import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from tests.docs.document import Mode, read_document
from tests.docs.walkthrough import walk_through
from tests.tree import ROOT, repository_files, shown

# The page on Kubernetes needs Helm and kubectl: tests/deploy/test_getting_started.py runs it.
ELSEWHERE = {"kubernetes.md"}
STARTING = sorted((ROOT / "docs" / "getting-started").glob("*.md"))
PAGES = [ROOT / "README.md", *(page for page in STARTING if page.name not in ELSEWHERE)]

# Accepted reasons for commands that are shown but not run here.
ACCEPTED_SKIPS = {
    "this runs the tests, and these are the tests",
}

DOCUMENTED_PORT = 8000


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "goverse"
    for path in repository_files():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    return folder


def _on_port(text: str, *, port: int) -> str:
    """Return the text for another port, with `--port` added to commands that use the default."""
    moved = re.sub(rf"\b{DOCUMENTED_PORT}\b", str(port), text)
    return re.sub(r"((?:^|[\s/])goverse dev)(?! --?h)(?!.*--port)", rf"\1 --port {port}", moved)


def _skips() -> set[str]:
    return {step.argument for page in PAGES for step in read_document(page) if step.mode is Mode.SKIP}


@pytest.mark.system
@pytest.mark.requirement("DOC-1", "QUA-1")
@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_the_commands_of_a_page_work_as_written(page: Path, copy: Path) -> None:
    port = free_port()
    # The server writes its banner only to a terminal or with LOG_FORMAT=text, and here its output is a pipe.
    environment = {"PORT": str(port), "LOG_FORMAT": "text"}

    steps = walk_through(page, copy, env=environment, adapt=partial(_on_port, port=port))

    assert steps, "a page of this kind shows commands"


def test_the_readme_serves_the_program_that_it_shows() -> None:
    steps = read_document(ROOT / "README.md")
    (program,) = [step for step in steps if step.mode is Mode.FILE]
    served = [step.commands[0].text for step in steps if step.mode is Mode.BACKGROUND]

    assert program.argument == "counter.py"
    assert set(served) == {".venv/bin/goverse dev counter.py"}


def test_nothing_is_skipped_without_an_accepted_reason() -> None:
    assert _skips() == ACCEPTED_SKIPS


@pytest.mark.parametrize(
    ("command", "moved"),
    [
        ("curl localhost:8000/ready", "curl localhost:9/ready"),
        ("goverse dev app.py", "goverse dev --port 9 app.py"),
        (".venv/bin/goverse dev app.py --no-reload", ".venv/bin/goverse dev --port 9 app.py --no-reload"),
        ("goverse dev app.py --port 8000", "goverse dev app.py --port 9"),
        ("goverse dev --help", "goverse dev --help"),
        ("echo 80001", "echo 80001"),
    ],
)
def test_commands_move_to_a_free_port(command: str, moved: str) -> None:
    assert _on_port(command, port=9) == moved
