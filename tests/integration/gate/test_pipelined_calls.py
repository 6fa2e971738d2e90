"""Pipelined calls: a call never runs inside the turn that answers the call before it.

Gate and node share a process here, so the node delivers a reply to the gate from within its own call stack.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from typing import NamedTuple

import pytest

from goverse import BusinessError, Object, call
from goverse.objects.context import current_turn
from goverse.objects.registry import Registry
from goverse_gate.app import GateApp
from goverse_gate.options import GateOptions
from goverse_gate.protocol import SLICE_BYTES
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.gate.serving import serving_link
from tests.gate.wire import Wire, connected, request, until
from tests.nodes import Meeting

CHAIN = 60  # objects; about half as many nested responses would exhaust the stack
MANY = 2_000  # calls; hundreds of them arrive in one read of the socket

pytestmark = [pytest.mark.requirement("GATE-9", "OBJ-2"), pytest.mark.asyncio]

place = Meeting()


class Tally(Object):
    total: int = 0

    @call
    async def wait(self, compute_s: float = 0.0) -> None:
        await place.wait("here")
        end = time.monotonic() + compute_s
        while time.monotonic() < end:
            pass

    @call(readonly=True)
    async def look_long(self) -> int:
        await place.wait("here")
        return self.total

    @call
    async def add(self) -> int:
        seen = self.total
        await asyncio.sleep(0.001)
        self.total = seen + 1
        return self.total

    @call(readonly=True)
    def look(self) -> int:
        return self.total

    @call(readonly=True)
    def fail(self) -> None:
        raise BusinessError("no")


class Served(NamedTuple):
    """A gate and a node in one process."""

    node: Node
    app: GateApp
    url: str

    async def under_way(self, count: int) -> None:
        """Wait until ``count`` calls are in progress in the node."""
        await until(lambda: self.node.stats.inflight == count)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    registry, store = Registry([Tally]), MemoryStore()
    await store.open()
    node = Node(registry, store)
    await node.start()
    try:
        async with serving_link(node, registry, GateOptions(access_log="off")) as (app, server, _):
            yield Served(node, app, server.url)
            await served_out(app, node)
    finally:
        await node.stop(0.0)
        await store.close()


async def served_out(app: GateApp, node: Node) -> None:
    """Wait until no request is in progress."""
    await until(lambda: not app.objects.inflight and not node.stats.inflight)
    await until(lambda: not any(activation.running for activation in node.activations))


async def send(wire: Wire, method: str, name: str = "t", body: bytes = b"", **headers: str) -> None:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    await wire.send(request("POST", f"/objects/Tally/{name}/call/{method}", body, headers=named))


async def test_a_call_behind_a_timed_out_one_does_not_mix_with_its_follower() -> None:
    async with (
        serving() as served,
        connected(served.url) as busy,
        connected(served.url) as one,
        connected(served.url) as other,
    ):
        await send(busy, "wait", body=b'{"compute_s":0.15}')
        await place.reached("here")
        await send(one, "add", idempotency_key="k", goverse_timeout="0.1")
        await served.under_way(2)
        await send(one, "add")
        await send(other, "add", idempotency_key="k")
        await served.under_way(3)
        place.let_go("here")
        answers = [await one.answer(), await one.answer(), await other.answer(), await busy.answer()]
        assert [answer.status for answer in answers] == [504, 200, 200, 200]
        assert sorted(answer.body for answer in answers[1:3]) == [b"1", b"2"]


async def test_a_page_behind_a_call_does_not_run_within_its_turn() -> None:
    async with serving() as served, connected(served.url) as busy, connected(served.url) as one:
        found: list[object] = []

        @served.app.get("/page")
        async def page() -> None:  # pyright: ignore[reportUnusedFunction]
            found.append(current_turn.get())

        await send(one, "add")
        assert (await one.answer()).body == b"1"
        await send(busy, "wait")
        await place.reached("here")
        await send(one, "fail")
        await served.under_way(2)
        await one.send(request("GET", "/page"))
        place.let_go("here")
        assert [(await one.answer()).status, (await one.answer()).status] == [400, 200]
        assert found == [None]
        assert (await busy.answer()).status == 200


async def test_a_long_chain_of_pipelined_calls_does_not_exhaust_the_stack() -> None:
    names = [f"o{number}" for number in range(CHAIN)]
    async with serving() as served, AsyncExitStack() as wires:
        busy, gone, chain = [[await wires.enter_async_context(connected(served.url)) for _ in names] for _ in range(3)]
        for count, (kind, method) in enumerate([(busy, "look_long"), (gone, "add"), (chain, "look")], 1):
            for wire, name in zip(kind, names, strict=True):
                await send(wire, method, name)
            await served.under_way(count * CHAIN)
        for wire, name in zip(chain, [*names[1:], names[-1]], strict=True):
            await send(wire, "look", name)
        for wire in gone:
            wire.close()
        await until(lambda: served.app.objects.inflight == 2 * CHAIN)
        async with connected(served.url) as first:
            await send(first, "look", names[0])
            assert (await first.answer()).status == 200
        assert [(await wire.answer()).status for wire in (*chain, *chain)] == [200] * (2 * CHAIN)
        place.let_go("here")
        assert [(await wire.answer()).status for wire in busy] == [200] * CHAIN


async def test_a_busy_connection_lets_other_connections_run() -> None:
    async with serving() as served, connected(served.url) as one:
        await send(one, "add")
        assert (await one.answer()).status == 200
        done: list[int] = []
        loop, series = asyncio.get_running_loop(), served.app.objects.routes.type(b"Tally").method(b"look").series

        def look() -> None:
            done.append(series.count("success"))
            if done[-1] < MANY:
                loop.call_soon(look)

        look()
        asked = request("POST", "/objects/Tally/t/call/look", b"")
        await one.send(asked * MANY)
        assert [(await one.answer()).status for _ in range(MANY)] == [200] * MANY
        slices = 2  # the received bytes, and the bytes held before them
        assert max(later - before for before, later in pairwise(done)) <= slices * (SLICE_BYTES // len(asked) + 1)
