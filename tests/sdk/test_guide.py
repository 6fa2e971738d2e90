"""The Python examples of the clients' guide work with a running gate."""

import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.test_guides import BLOCK, GUIDE
from tests.integration.cli.processes import application, dev


@pytest.mark.requirement("GATE-2")
async def test_the_python_of_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCK.findall((GUIDE / "clients.md").read_text(encoding="utf-8"))
    module = ModuleType("clients_guide")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n\n".join(blocks), "clients.md", "exec"), vars(module))
    shown = {name: value for name, value in vars(module).items() if inspect.isfunction(value)}
    application(tmp_path)
    with dev(tmp_path, "app.py", "--no-reload") as server:
        results = {}
        for name, function in shown.items():
            answer = function(server.url)
            results[name] = await answer if inspect.isawaitable(answer) else answer
    assert results == {"increment": 2, "increment_without_async": 3, "withdraw": "done"}
