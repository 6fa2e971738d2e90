"""A server is killed between any two steps of a reliable call: the call takes effect once, and its sender learns it.

The steps are those of ``tests.chaos.fault_points``. The scenario ``kill-at-steps`` does the same to nodes.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ports import free_port
from tests.chaos import fault_points
from tests.chaos.client import Client
from tests.chaos.fault_points import AT_RECEIVER, AT_SENDER, FOLDER, STEPS, fault_at
from tests.chaos.killable import PATIENCE_S, Server
from tests.chaos.observer import POLL_S

pytestmark = [pytest.mark.chaos, pytest.mark.requirement("DUR-3")]

APPLICATION = Path(fault_points.__file__)


def test_the_steps_are_those_of_the_sender_and_of_the_receiver() -> None:
    assert sorted(STEPS) == sorted(AT_SENDER + AT_RECEIVER)


async def test_a_server_is_killed_after_each_step(tmp_path: Path) -> None:
    client, variables = Client(PATIENCE_S), {FOLDER: str(tmp_path)}
    server = Server(tmp_path, free_port(), application=str(APPLICATION), **variables)
    for number, step in enumerate(STEPS, 1):
        fault_at(step, tmp_path).touch()
        await server.start()
        order = asyncio.create_task(client.insist(server.url, ("Buyer", "b"), "order", step, order=step, shop="s"))
        assert await server.ended() == -signal.SIGKILL, step
        await server.start()
        await order
        ends = [[name, "success", place] for place, name in enumerate(STEPS[:number], 1)]
        assert await _ends(client, server, number) == ends, step
        assert await client.insist(server.url, ("Shop", "s"), "logs") == list(STEPS[:number]), step
        await server.kill()
    await client.close()


async def _ends(client: Client, server: Server, count: int) -> Any:
    """Wait until so many orders have ended, and return their ends."""
    async with asyncio.timeout(PATIENCE_S):
        while len(found := await client.insist(server.url, ("Buyer", "b"), "logs")) < count:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
    return found
