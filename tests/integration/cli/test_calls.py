"""``goverse calls`` against a gate with a real node in the test process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from goverse_cli.main import run
from goverse_gate.admin_access import TOKEN_FILE
from tests.gate.call_desk import HOUR, WITHDRAW, Client, node_desk
from tests.gate.serving import ADMIN_TOKEN

pytestmark = pytest.mark.requirement("GATE-11")


class Terminal:
    """Runs commands, and returns what they print."""

    def __init__(self, desk: Client, capsys: pytest.CaptureFixture[str]) -> None:
        self.desk, self._capsys = desk, capsys

    async def run(self, *words: str, code: int = 0) -> str:
        """Run ``goverse calls``, and return its output, or its errors if it has to fail."""
        line = ["calls", *words, "--url", str(self.desk.client.base_url)]
        found = await asyncio.to_thread(run, line)
        printed = self._capsys.readouterr()
        assert found == code, printed.err
        return printed.err if code else printed.out

    async def json(self, *words: str) -> Any:
        """Run a command with ``-o json``, and return its document."""
        return json.loads(await self.run(*words, "-o", "json"))

    async def state(self, call_id: str) -> str:
        """Return the state of a call at its end."""
        return str((await self.json("show", call_id, "--wait", "60"))["state"])


@pytest.fixture
async def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Terminal]:
    (tmp_path / ".goverse").mkdir()
    (tmp_path / ".goverse" / TOKEN_FILE).write_text(ADMIN_TOKEN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    async with node_desk() as desk:
        yield Terminal(desk, capsys)


async def test_a_delayed_call_is_listed_shown_retried_and_its_result_printed(terminal: Terminal) -> None:
    name = (await terminal.desk.submit(HOUR, by=3)).json()["id"]
    listed = await terminal.run("list", "--state", "pending", "--receiver", "Counter/c1")
    assert f"{name}  pending  Counter/c1.increment" in listed
    assert (await terminal.json("list", "--type", "Room"))["items"] == []
    assert "due in" in await terminal.run("show", name)
    assert "has not ended" in await terminal.run("result", name, code=1)
    await terminal.run("retry", name)
    assert await terminal.state(name) == "success"
    assert await terminal.run("result", name) == "3\n"
    assert await terminal.json("result", name) == 3


async def test_calls_are_cancelled_and_skipped(terminal: Terminal) -> None:
    cancelled, skipped = [(await terminal.desk.submit(HOUR)).json()["id"] for _ in range(2)]
    await terminal.run("cancel", cancelled)
    await terminal.run("skip", skipped)
    assert [await terminal.state(cancelled), await terminal.state(skipped)] == ["cancelled", "dead"]
    assert [call["id"] for call in (await terminal.json("list", "--state", "dead"))["items"]] == [skipped]
    assert "call_void" in await terminal.run("result", skipped, code=1)
    assert await terminal.desk.value() == 0


async def test_the_error_of_a_call_is_the_error_of_result(terminal: Terminal) -> None:
    name = (await terminal.desk.submit(path=WITHDRAW, amount=99)).json()["id"]
    assert await terminal.state(name) == "failed"
    assert "insufficient_funds" in await terminal.run("result", name, code=1)


@pytest.mark.requirement("DUR-4")
async def test_dead_letters_are_sent_again_and_ended_calls_removed(terminal: Terminal) -> None:
    names = [(await terminal.desk.submit(HOUR)).json()["id"] for _ in range(3)]
    for name in names:
        await terminal.run("skip", name)
        assert await terminal.state(name) == "dead"
    made = await terminal.json("redrive", names[0], "--arguments", '{"by": 5}')
    assert await terminal.state(made["id"]) == "success"

    assert (await terminal.json("redrive", "--type", "Counter", "--dry-run"))["matched"] == 2
    assert "--yes" in await terminal.run("redrive", "--type", "Counter", code=2)
    sent = await terminal.json("redrive", "--type", "Counter", "--yes")
    assert {letter["id"] for letter in sent["redriven"]} == set(names[1:])
    for letter in sent["redriven"]:
        assert await terminal.state(letter["redriven_as"]) == "success"
    assert await terminal.desk.value() == 5 + 2
    assert await terminal.run("redrive") == "0 dead letters fit\n"

    waiting = (await terminal.desk.submit(HOUR)).json()["id"]
    assert await terminal.json("cleanup", "--dry-run") == {"forgotten": 6, "dry_run": True}
    assert await terminal.run("cleanup", "--older-than", "30d", "--yes") == "0 ended calls fit\n"
    assert "--yes" in await terminal.run("cleanup", code=2)
    assert await terminal.run("cleanup", "--yes") == "removed 6 ended calls\n"
    assert [call["id"] for call in (await terminal.json("list"))["items"]] == [waiting]


async def test_a_pair_is_paused_and_resumed(terminal: Terminal) -> None:
    await terminal.run("pause", "Counter/c1", "Counter/c1")
    name = (await terminal.desk.submit()).json()["id"]
    assert "paused by an operator" in await terminal.run("show", name)
    await terminal.run("resume", "Counter/c1", "Counter/c1")
    assert await terminal.state(name) == "success"


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (("show", "c_7"), "call_not_found", 1),
        (("list", "--state", "lost"), "expected one of pending, running", 1),
        (("pause", "Counter", "Room/r"), "expected an object as Type/id", 1),
        (("redrive", "c_7", "--arguments", "[1]"), "must be a JSON object", 2),
        (("redrive", "--arguments", "{}"), "needs the ID", 2),
        (("redrive", "c_7", "--dry-run"), "exclude each other", 2),
        (("list", "--receivr", "Room/r"), "--receiver", 2),
    ],
)
async def test_a_wrong_command_says_what_is_wrong(
    terminal: Terminal, words: tuple[str, ...], message: str, code: int
) -> None:
    assert message in await terminal.run(*words, code=code)


def test_a_server_that_does_not_run_is_unavailable(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["calls", "--url", "http://127.0.0.1:9", "list", "--data-dir", str(tmp_path)]) == 3
    error = capsys.readouterr().err
    assert "http://127.0.0.1:9" in error
    assert "goverse dev" in error


async def test_without_the_token_the_refusal_names_it(terminal: Terminal, tmp_path: Path) -> None:
    assert "gate.admin_token_file" in await terminal.run("list", "--data-dir", str(tmp_path / "other"), code=1)
