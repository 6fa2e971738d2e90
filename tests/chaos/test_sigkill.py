"""A server is killed repeatedly while many callers write: every acknowledged call has exactly one effect.

Each call has an idempotency key and is repeated until it is answered. Kills happen during starts, under load and during
snapshots. The seed of their timing is printed.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from benchmarks.ports import free_port
from goverse_node.stores.wal.admin import verify
from tests.chaos.killable import PATIENCE_S, Server
from tests.chaos.ledger import ACCOUNT, Ledger, Posting, Told, post
from tests.gate.wire import Wire, connected, request
from tests.integration.cli.processes import application, dev

KILLS = 110
SNAPSHOT_EACH = 10
WRITERS = 32
ACCOUNTS = 24
RUN_S = 600.0
SETTINGS = {
    "GOVERSE_WAL__SNAPSHOT_BYTES": "1MiB",
    "GOVERSE_GATE__ALLOW_LOCAL_ADMIN": "true",
    "LOG_FORMAT": "json",
}


class Callers:
    """Writers that repeat each call until it is answered, and sometimes repeat a call that was answered long ago."""

    def __init__(self, url: str, seed: int) -> None:
        """Call the server at ``url``."""
        self._url = url
        self._seed = seed
        self._progress = asyncio.Event()
        self._made = 0
        self.ledger = Ledger()
        self.enough = False

    async def progress(self) -> None:
        """Wait until one more call has been answered."""
        self._progress.clear()
        async with asyncio.timeout(PATIENCE_S):
            await self._progress.wait()

    async def write(self, writer: int) -> None:
        """Run one writer until ``enough`` is set and its last call is answered."""
        chance = random.Random(self._seed * 1_000 + writer)
        own: list[Posting] = []
        pending: Posting | None = None
        while True:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                async with connected(self._url) as wire:
                    while pending is not None or not self.enough:
                        pending = pending or self._next(chance, writer, own)
                        await self._post(wire, pending)
                        own.append(pending)
                        pending = None
                    return
            await asyncio.sleep(0.01)

    def _next(self, chance: random.Random, writer: int, own: list[Posting]) -> Posting:
        if own and chance.random() < 0.1:
            return chance.choice(own)
        self._made += 1
        return Posting(f"a{chance.randrange(ACCOUNTS)}", f"k{self._made}", chance.randrange(1_000))

    async def _post(self, wire: Wire, posting: Posting) -> None:
        while (answer := await post(wire, posting)).status == 503:  # noqa: ASYNC110  # the server is elsewhere
            await asyncio.sleep(0.01)
        self.ledger.note(posting, answer)
        self._progress.set()


async def snapshot(url: str) -> None:
    """Request a snapshot from a server that may be killed during it."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        async with connected(url) as wire:
            await wire.send(request("POST", "/admin/snapshot", b""))
            assert (await wire.answer()).status == 200


async def kill_often(server: Server, callers: Callers, chance: random.Random) -> None:
    """Start and kill the server at different times: at the start, under load, during a snapshot and right after one."""
    loop = asyncio.get_running_loop()
    snapshot_s = PATIENCE_S
    for kill in range(KILLS):
        await server.start()
        kind = "snapshot" if kill % SNAPSHOT_EACH == 0 else chance.choice(("start", "load", "load", "snapshot"))
        if kind == "start":
            await asyncio.sleep(chance.uniform(0, 0.3))
        elif kind == "load":
            await callers.progress()
            await asyncio.sleep(chance.uniform(0, 0.4))
        else:
            await callers.progress()
            began = loop.time()
            making = asyncio.create_task(snapshot(server.url))
            # As long as a snapshot takes on this machine, so that the kill hits it; each SNAPSHOT_EACH-th completes.
            limit = PATIENCE_S if kill % SNAPSHOT_EACH == 0 else chance.uniform(0, snapshot_s)
            await asyncio.wait({making}, timeout=limit)
            if making.done():
                await making
                snapshot_s = loop.time() - began
            making.cancel()
        await server.kill()


@pytest.mark.chaos
@pytest.mark.requirement("DUR-1", "DUR-2", "WAL-1", "WAL-2")
async def test_no_acknowledged_call_is_lost_or_applied_twice_over_a_hundred_kills(tmp_path: Path) -> None:
    seed = int(os.environ.get("GOVERSE_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    sys.stdout.write(f"GOVERSE_TEST_SEED={seed}\n")
    application(tmp_path, ACCOUNT)
    port = free_port()
    server = Server(tmp_path, port, **SETTINGS)
    callers = Callers(server.url, seed)
    async with asyncio.timeout(RUN_S), asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(callers.write(writer))
        await kill_often(server, callers, random.Random(seed))
        await server.start()
        await callers.progress()
        callers.enough = True
    await server.kill()

    ledger = callers.ledger
    found = verify(tmp_path / ".goverse")
    sys.stdout.write(f"{len(ledger.told)} calls, {ledger.replays} replays, {ledger.unheard} of lost answers; {found}\n")
    assert ledger.unheard > 0, "no kill happened between a commit and its response"
    ledger.check_gapless()
    ledger.check_positions()
    assert "Traceback" not in (tmp_path / "server.log").read_text()
    assert found.problems == []
    assert found.snapshots > 0
    with dev(tmp_path, "app.py", "--no-reload", "--port", str(port), **SETTINGS) as again:
        await check_state(again.url, ledger)
        await check_replays(again.url, ledger)


async def check_state(url: str, ledger: Ledger) -> None:
    """Check that each account has exactly the acknowledged entries, and that the next position is new."""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        for number in range(ACCOUNTS):
            name = f"a{number}"
            state = await client.get(f"/objects/Account/{name}")
            assert state.json()["entries"] == ledger.entries(name)
            assert state.headers["etag"] == f'"{ledger.entries(name)}"'
            assert state.json()["balance"] == sum(p.amount for p in ledger.told if p.account == name)
        ready = await client.get("/ready")
        assert int(ready.json()["commit_seq"]) >= ledger.last_seq


async def check_replays(url: str, ledger: Ledger) -> None:
    """Check that every call that was ever answered gets the same response again."""
    answered = list(ledger.told.items())

    async def repeat(share: list[tuple[Posting, Told]]) -> None:
        async with connected(url) as wire:
            for posting, told in share:
                answer = await post(wire, posting)
                assert answer.headers.get("idempotency-replayed") == "true", posting
                assert Told.by(answer) == told

    async with asyncio.TaskGroup() as group:
        for first in range(8):
            group.create_task(repeat(answered[first::8]))
    async with connected(url) as wire:
        fresh = Told.by(await post(wire, Posting("a0", "fresh", 1)))
        assert fresh.commit_seq > ledger.last_seq
