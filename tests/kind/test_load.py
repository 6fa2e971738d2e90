"""The load program notices failed calls and wrong counters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from benchmarks.ports import free_port
from goverse import Object, call
from goverse.model.frames import Operation, Request
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse_cli.listener import open_listener
from goverse_gate.app import create_app
from goverse_gate.options import GateOptions
from goverse_gate.server import GateServer
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.kind.load import COUNTERS, run
from tests.nodes import until


class Counter(Object):
    """Counts."""

    value: int = 0

    @call
    def increment(self, by: int = 1) -> int:
        """Count."""
        self.value += by
        return self.value


class Counters:
    """A server with counters."""

    def __init__(self, node: Node, server: GateServer) -> None:
        self.node, self.url = node, server.url


@pytest.fixture
async def counters() -> AsyncIterator[Counters]:
    store = MemoryStore()
    await store.open()
    registry = Registry([Counter])
    node = Node(registry, store)
    await node.start()
    options = GateOptions()
    server = GateServer(create_app(node, describe(registry), options), options, sockets=[open_listener("127.0.0.1", 0)])
    await server.start()
    yield Counters(node, server)
    await server.stop()
    await node.stop()


async def test_a_server_that_loses_nothing_is_good(counters: Counters, capsys: pytest.CaptureFixture[str]) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(run(counters.url, stop))
    said = ""
    async with asyncio.timeout(30):
        while "under load" not in said:
            said += capsys.readouterr().out
            await asyncio.sleep(0.01)
    stop.set()
    figures = await running
    assert figures.good
    assert len(figures.acknowledged) == COUNTERS
    assert not figures.failed


async def test_a_counter_that_another_client_incremented_is_reported(counters: Counters) -> None:
    stop, node = asyncio.Event(), counters.node
    running = asyncio.create_task(run(counters.url, stop))
    await until(lambda: any(activation.key.id.endswith("-3") for activation in node.activations))
    (key,) = (activation.key for activation in node.activations if activation.key.id.endswith("-3"))
    await node.submit(Request(Operation.CALL, key, "increment", b"", node.now() + 10.0, "other"))
    stop.set()
    figures = await running
    assert not figures.good
    assert any("-3:" in complaint for complaint in figures.wrong)


async def test_calls_to_a_stopped_server_fail() -> None:
    figures = await run(f"http://127.0.0.1:{free_port()}", asyncio.Event(), timeout_s=0.3)
    assert not figures.good
