"""A server whose disk is full reports it and keeps serving reads; when space is freed, it accepts writes again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.chaos.ledger import ACCOUNT, Ledger, Posting, post
from tests.chaos.small_disk import kinds, small_disk
from tests.gate.wire import Answer, Wire, connected, request
from tests.integration.cli.processes import application, dev

PATIENCE_S = 60.0
CALLS_MAX = 20_000


async def ask(wire: Wire, path: str) -> Answer:
    """Send a GET request."""
    await wire.send(request("GET", path))
    return await wire.answer()


async def fill(url: str, ledger: Ledger) -> Posting:
    """Make calls until the server refuses them permanently, and return the first failed call."""
    refusals = 0
    async with connected(url) as wire:
        for number in range(CALLS_MAX):
            posting = Posting(f"a{number % 7}", f"k{number}", number)
            answer = await post(wire, posting)
            while answer.status == 503 and refusals < 3:
                # A small record may still fit after a larger batch did not, so full means several refusals in a row.
                refusals += 1
                answer = await post(wire, posting)
            if answer.status == 503:
                check_refusal(answer)
                return posting
            refusals = 0
            ledger.note(posting, answer)
    raise AssertionError("the disk did not fill up")


def check_refusal(answer: Answer) -> None:
    """Check that the error names the cause, and that a retry makes sense."""
    problem = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "unavailable"
    assert problem["retryable"] is True
    assert "disk is full" in problem["detail"]
    assert int(answer.headers["retry-after"]) > 0


async def check_full(url: str, ledger: Ledger) -> None:
    """Check that the server is not ready and gives the reason, is alive, and still serves reads and repeated calls."""
    async with connected(url) as wire:
        ready = await ask(wire, "/ready")
        assert ready.status == 503
        assert any("disk is full" in reason for reason in json.loads(ready.body)["reasons"])
        assert (await ask(wire, "/healthz")).status == 200
        state = await ask(wire, "/objects/Account/a0")
        assert json.loads(state.body)["entries"] == ledger.entries("a0")
        answered = next(iter(ledger.told))
        ledger.note(answered, await post(wire, answered))


async def until_ready(url: str) -> None:
    """Wait until the server is ready, without writing to it."""
    async with asyncio.timeout(PATIENCE_S), connected(url) as wire:
        while (await ask(wire, "/ready")).status != 200:  # noqa: ASYNC110  # asked over the wire
            await asyncio.sleep(0.05)


@pytest.mark.chaos
@pytest.mark.parametrize("kind", kinds())
@pytest.mark.requirement("DUR-1", "WAL-1", "GATE-1")
async def test_a_full_disk_is_a_clear_refusal_and_passes_without_loss(tmp_path: Path, kind: str) -> None:
    application(tmp_path, ACCOUNT)
    (tmp_path / "disk").mkdir()
    ledger = Ledger()
    with small_disk(kind, tmp_path / "disk") as disk:
        arguments = ("app.py", "--no-reload", "--data-dir", str(disk.folder / "data"))
        with dev(tmp_path, *arguments) as server:
            server.wait_for("serving")
            disk.confine(server.pid)
            refused = await fill(server.url, ledger)
            await check_full(server.url, ledger)
            disk.make_room(server.pid)
            await until_ready(server.url)
            async with connected(server.url) as wire:
                ledger.note(refused, await post(wire, refused))
                assert ledger.replays == 1, "the refused call had taken effect"
                for number in range(50):
                    posting = Posting(f"a{number % 7}", f"after{number}", number)
                    ledger.note(posting, await post(wire, posting))
            assert not server.said("Traceback")
        ledger.check_gapless()
        with dev(tmp_path, *arguments) as again:
            async with connected(again.url) as wire:
                for posting in list(ledger.told):
                    ledger.note(posting, await post(wire, posting))
                for name in {posting.account for posting in ledger.told}:
                    state = await ask(wire, f"/objects/Account/{name}")
                    assert json.loads(state.body)["entries"] == ledger.entries(name)
