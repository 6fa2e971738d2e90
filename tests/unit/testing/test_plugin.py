"""The pytest plugin, as a project that installs GoVerse uses it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from goverse.testing import ObjectHost
from tests.tree import ROOT
from tests.unit.testing.test_object_host import Purse

TESTS = """
from collections.abc import AsyncIterator

from goverse import Object, call, on_start, on_stop
from goverse.testing import ObjectHost

steps: list[str] = []


@on_start
def open_pool() -> None:
    steps.append("start")


@on_stop
async def close_pool() -> None:
    steps.append("stop")


class Counter(Object):
    value: int = 0

    @call
    async def add(self, by: int = 1) -> int:
        assert steps[-1] == "start"
        self.value += by
        return self.value
"""

MODES = {
    "strict": """
import pytest

@pytest.mark.asyncio
async def test_started(goverse_host: type[ObjectHost]) -> None:
    host = await goverse_host(Counter).start()
    assert await host.ref(Counter, "c").add() == 1

@pytest.mark.asyncio
async def test_stopped(goverse_host: type[ObjectHost]) -> None:
    assert steps == ["start", "stop"]
    async with goverse_host(Counter) as host:
        await host.ref(Counter, "c").add()
    assert steps == ["start", "stop"] * 2
""",
    "without": """
import asyncio

def test_within(goverse_host: type[ObjectHost]) -> None:
    async def scenario() -> None:
        async with goverse_host(Counter) as host:
            assert await host.ref(Counter, "c").add() == 1
            await host.restart()
            assert await host.ref(Counter, "c").add() == 2
        async with goverse_host(Counter, process_hooks=False) as host:
            assert await host.state(Counter, "c") is None
    asyncio.run(scenario())
    assert steps == ["start", "stop"] * 2
""",
}


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / root) for root in ("shared", "node"))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.system
@pytest.mark.parametrize(
    ("mode", "plugins"),
    [
        ("strict", ["goverse.testing.plugin", "pytest_asyncio.plugin"]),
        ("strict", ["pytest_asyncio.plugin", "goverse.testing.plugin"]),
        ("without", ["goverse.testing.plugin"]),
    ],
)
def test_a_project_gets_the_fixture(tmp_path: Path, mode: str, plugins: list[str]) -> None:
    (tmp_path / "test_counter.py").write_text(TESTS + MODES[mode], encoding="utf-8")

    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\n" * (mode == "strict")
    )

    done = run_pytest(tmp_path, *(word for plugin in plugins for word in ("-p", plugin)))

    assert done.returncode == 0, done.stdout + done.stderr


async def test_the_fixture_is_found_by_its_entry_point(goverse_host: type[ObjectHost]) -> None:
    host = await goverse_host(Purse).start()

    assert await host.ref(Purse, "ann").add(cents=2) == 2
