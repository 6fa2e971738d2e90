"""`@on_start` and `@on_stop` in `goverse dev`: before the first call, after the last one, and at reloads."""

import signal
from pathlib import Path

import pytest

from tests.integration.cli.processes import application, dev, edit, goverse, until

HOOKED = """
from pathlib import Path

from goverse import Object, call, on_start, on_stop

opened: list[str] = []


def note(step: str) -> None:
    with Path("steps").open("a") as steps:
        steps.write(f"{step}\\n")


@on_start
async def open_pool() -> None:
    opened.append("pool")
    note("start")


@on_stop
async def close_pool() -> None:
    note("stop")


class Counter(Object):
    value: int = 0

    @call
    async def increment(self, by: int = 1) -> int:
        assert opened == ["pool"]
        self.value += by
        return self.value

    async def on_deactivate(self) -> None:
        note("passivated")
"""

BROKEN = 'raise ConnectionError("the database is away")'


def steps(folder: Path) -> list[str]:
    return (folder / "steps").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("reload", ["--reload", "--no-reload"])
def test_hooks_run_once_before_the_first_call_and_after_the_last_commit(tmp_path: Path, reload: str) -> None:
    application(tmp_path, HOOKED)
    with dev(tmp_path, "app.py", reload) as server:
        assert server.increment() == 1
        server.signal(signal.SIGTERM)
        assert server.wait() == 0

    assert steps(tmp_path) == ["start", "passivated", "stop"]


def test_a_reload_runs_stop_hooks_before_start_hooks(tmp_path: Path) -> None:
    app = application(tmp_path, HOOKED)
    with dev(tmp_path, "app.py") as server:
        assert server.increment() == 1
        edit(app, "self.value += by", "self.value += 10 * by")
        server.wait_for("the application was reloaded")
        assert server.increment() == 11

    assert steps(tmp_path) == ["start", "passivated", "stop", "start"]


def test_a_failing_start_ends_the_command_with_the_cause(tmp_path: Path) -> None:
    application(tmp_path, HOOKED.replace('note("start")', BROKEN))

    done = goverse("dev", "app.py", "--no-reload", "--port", "0", cwd=tmp_path)

    assert done.returncode == 1
    assert "app.open_pool (@on_start) failed" in done.stderr
    assert "ConnectionError: the database is away" in done.stderr
    assert "goverse_cli" not in done.stderr
    assert steps(tmp_path) == ["stop"]


def test_with_reload_the_edit_that_repairs_the_start_is_served(tmp_path: Path) -> None:
    app = application(tmp_path, HOOKED.replace('note("start")', BROKEN))
    with dev(tmp_path, "app.py") as server:
        server.wait_for("nothing is served; waiting for the next change")
        edit(app, BROKEN, 'note("start")')
        assert server.increment() == 1
        edit(app, 'note("start")', BROKEN)
        until(lambda: server.count("nothing is served; waiting for the next change") == 2, "the failed reload")
        edit(app, BROKEN, 'note("start")')
        server.wait_for("the application was reloaded")
        assert server.increment() == 2


def test_a_signal_during_a_start_that_hangs_ends_it_in_order(tmp_path: Path) -> None:
    application(
        tmp_path, HOOKED.replace('note("start")', 'note("waits"); import asyncio; await asyncio.Event().wait()')
    )
    with dev(tmp_path, "app.py", "--no-reload") as server:
        until((tmp_path / "steps").exists, "the start")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0

    assert steps(tmp_path) == ["waits", "stop"]
