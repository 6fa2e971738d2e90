"""The page on asynchronous invocation works as written: calls are submitted, awaited, cancelled and sent again."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from tests.docs.walkthrough import walk_through
from tests.tree import ROOT

PAGE = ROOT / "docs" / "guide" / "asynchronous-invocation.md"


@pytest.mark.requirement("DOC-2", "GATE-11")
def test_the_commands_of_the_page_work_as_written(tmp_path: Path) -> None:
    port = str(free_port())
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PORT": port,
        "GOVERSE_URL": f"http://127.0.0.1:{port}",
        "LOG_FORMAT": "text",
    }

    def adapt(text: str) -> str:
        return re.sub(r"\b8000\b", port, text).replace("goverse dev report.py", f"goverse dev report.py --port {port}")

    assert walk_through(PAGE, tmp_path, env=environment, adapt=adapt)
