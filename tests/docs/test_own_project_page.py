"""The page on your own project works as written: it creates a project, serves it, renames a type and adds another."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from tests.docs.walkthrough import walk_through
from tests.tree import ROOT

PAGE = ROOT / "docs" / "guide" / "own-project.md"


@pytest.mark.requirement("DOC-2", "AGT-4")
def test_the_commands_of_the_page_work_as_written(tmp_path: Path) -> None:
    port, projects = str(free_port()), tmp_path / "projects"
    (projects / "shop").mkdir(parents=True)
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PORT": port,
        "GOVERSE_URL": f"http://127.0.0.1:{port}",
    }

    def adapt(text: str) -> str:
        moved = re.sub(r"\b8000\b", port, text).replace("~/projects", str(projects))
        # The walk puts the settings of curl into this folder, but `goverse new` needs an empty one.
        moved = moved.replace("goverse new shop", "mv shop/.curlrc . && goverse new shop && mv .curlrc shop")
        return moved.replace("source ~/goverse/.venv/bin/activate", ":").replace("~/goverse", str(ROOT))

    walk_through(PAGE, projects / "shop", env=environment, adapt=adapt)

    assert (projects / "shop" / "shop" / "order.py").exists()
