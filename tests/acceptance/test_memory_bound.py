"""A million objects with a bound of fifty thousand activations: all of them answer, with their state.

The node runs in the test process, over the embedded store. Most calls use the node's link as the gate does; a sample
goes over HTTP.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import resource
import sys
from asyncio import Future
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from goverse import Object, call
from goverse.limits import MIB
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse_cli.collector import calm_collector
from goverse_cli.listener import open_listener
from goverse_gate.app import create_app
from goverse_gate.options import GateOptions
from goverse_gate.server import GateServer
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from goverse_node.stores.wal.store import WalStore
from tests.gate.wire import connected, request

OBJECTS = 1_000_000
RESIDENT_MAX = 50_000
AT_ONCE = 4_000
SAMPLE = 500
CALL_TIMEOUT_S = 120.0
BYTES_PER_OBJECT_MAX = 700
"""Growth of the process per object, everything included. An activation takes several times as much."""


class Device(Object):
    """A device with its last readings."""

    serial: int
    readings: list[int] = []

    def on_create(self, serial: int) -> None:
        """Set the serial number."""
        self.serial = serial

    @call
    def report(self, reading: int) -> int:
        """Add a reading."""
        self.readings = [*self.readings[-2:], reading]
        return len(self.readings)

    @call(readonly=True)
    def last(self) -> list[int]:
        """Return the serial number and the readings."""
        return [self.serial, *self.readings]


REGISTRY = Registry([Device])


class Crowd:
    """All objects, called in groups. Records the largest number of activations."""

    def __init__(self, node: Node) -> None:
        """Send all requests to this node."""
        self.node = node
        self.most = 0

    async def ask(
        self, operation: Operation, method: str, numbered: Iterable[tuple[int, dict[str, int]]]
    ) -> list[Reply]:
        """Send one request to each numbered object, and wait for all replies."""
        futures = [self._submit(operation, method, number, arguments) for number, arguments in numbered]
        self.most = max(self.most, len(self.node.activations) - self.node.activations.leaving)
        replies = await asyncio.gather(*futures)
        for reply in replies:
            assert reply.problem is None, reply.problem
        self.most = max(self.most, len(self.node.activations) - self.node.activations.leaving)
        return replies

    def _submit(self, operation: Operation, method: str, number: int, arguments: dict[str, int]) -> Future[Reply]:
        key = ObjectKey("default", "Device", f"device-{number}")
        body = orjson.dumps(arguments) if arguments else b""
        return self.node.submit(Request(operation, key, method, body, self.node.now() + CALL_TIMEOUT_S, "r"))

    async def create(self) -> None:
        """Create all objects, and add a reading to every tenth."""
        for first in range(0, OBJECTS, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            replies = await self.ask(Operation.CREATE, "", ((n, {"serial": n}) for n in numbers))
            assert all(reply.created for reply in replies)
            await self.ask(Operation.CALL, "report", ((n, {"reading": n + 7}) for n in numbers if n % 10 == 0))

    async def check(self, numbers: list[int]) -> None:
        """Check the state and the version of these objects."""
        for first in range(0, len(numbers), AT_ONCE):
            asked = numbers[first : first + AT_ONCE]
            replies = await self.ask(Operation.CALL, "last", ((n, {}) for n in asked))
            for number, reply in zip(asked, replies, strict=True):
                assert reply.body == b"[%d,%d]" % (number, number + 7) if number % 10 == 0 else b"[%d]" % number
                assert reply.version == (2 if number % 10 == 0 else 1)


@asynccontextmanager
async def opened(folder: Path) -> AsyncGenerator[Crowd]:
    """Run a node with the bound on the store in ``folder``."""
    store = WalStore(folder)
    await store.open()
    node = Node(REGISTRY, store, options=NodeOptions(activations_max=RESIDENT_MAX))
    await node.start()
    try:
        yield Crowd(node)
    finally:
        await node.stop()
        await store.close()


def resident_bytes() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture
def server_collector() -> Iterator[None]:
    """Collect garbage as a server process does, until the end of the test."""
    before = gc.get_threshold()
    calm_collector()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("server_collector")
@pytest.mark.requirement("OBJ-5", "OBJ-3")
async def test_a_million_objects_answer_behind_a_bound_of_fifty_thousand(tmp_path: Path) -> None:
    before = resident_bytes()
    async with opened(tmp_path / "data") as crowd:
        await crowd.create()
        await crowd.check(list(range(OBJECTS)))
        await check_over_http(crowd.node)
        grown = resident_bytes() - before
        sys.stdout.write(
            f"{OBJECTS} objects, at most {crowd.most} activations, {crowd.node.stats.activations} activated in all, "
            f"{grown / MIB:.0f} MiB more\n"
        )
        assert crowd.most <= RESIDENT_MAX + AT_ONCE, "only busy objects may exceed the bound"
        assert len(crowd.node.activations) <= RESIDENT_MAX
        assert crowd.node.stats.activations >= 2 * OBJECTS - RESIDENT_MAX
        assert grown < OBJECTS * BYTES_PER_OBJECT_MAX
    async with opened(tmp_path / "data") as crowd:
        await crowd.check(random.sample(range(OBJECTS), 20 * SAMPLE))


async def check_over_http(node: Node) -> None:
    """Check a sample of the objects over HTTP."""
    options = GateOptions()
    server = GateServer(create_app(node, describe(REGISTRY), options), options, sockets=[open_listener("127.0.0.1", 0)])
    await server.start()
    try:
        async with connected(server.url) as wire:
            for number in random.sample(range(OBJECTS), SAMPLE):
                await wire.send(request("GET", f"/objects/Device/device-{number}"))
                state = json.loads((await wire.answer()).body)
                assert state == {"serial": number, "readings": [number + 7] if number % 10 == 0 else []}
    finally:
        await server.stop()
