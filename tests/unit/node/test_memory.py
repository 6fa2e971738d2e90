"""What stays in memory: bounded by count, bytes and idle time, least recently used first; nothing is lost or kept."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from tests.unit.node.rig import rig
from tests.unit.node.shapes import Counter

pytestmark = pytest.mark.requirement("OBJ-5")


@pytest.fixture(autouse=True)
async def gate() -> asyncio.Event:
    Counter._gate = asyncio.Event()
    return Counter._gate


async def test_least_recently_used_objects_leave_first_and_keep_their_state() -> None:
    async with rig(Counter, activations_max=10) as here:
        for index in range(10):
            await here.call(f"object-{index}", "add", by=index)
        await here.call("object-0", "get")
        await here.call("object-10", "add", by=10)
        resident = {activation.key.id for activation in here.node.residents}
        assert "object-0" in resident
        assert "object-1" not in resident
        assert len(resident) == 10
        for index in range(11):
            assert await here.call(f"object-{index}", "get") == index


async def test_bytes_are_bounded_too() -> None:
    async with rig(Counter, activations_bytes_max=200_000) as here:
        for index in range(50):
            await here.call(f"object-{index}", "grow", size=2_000)
            assert here.node.residents.bytes <= 200_000 + 20_000
        assert 0 < len(here.node.residents) < 20


async def test_busy_objects_stay(gate: asyncio.Event) -> None:
    async with rig(Counter, activations_max=3) as here:
        busy = [here.send(f"busy-{index}", "add_at_gate") for index in range(5)]
        for index in range(20):
            await here.call(f"object-{index}", "add")
        gate.set()
        assert [(await future).body for future in busy] == [b"1"] * 5
        await here.call("last", "add")
        assert len(here.node.residents) <= 3


async def test_idle_objects_leave() -> None:
    async with rig(Counter, idle_timeout_s=0.05) as here:
        await here.call("a", "add")
        await here.until(lambda: len(here.node.residents) == 0)
        assert await here.call("a", "add") == 2


async def test_nothing_of_a_passivated_object_stays_in_the_node() -> None:
    async with rig(Counter, activations_max=100) as here:
        traces: list[weakref.ref[Counter]] = []
        for index in range(5_000):
            await here.call(f"object-{index}", "add", key=f"key-{index}")
            if index < 50:
                traces.append(weakref.ref([*here.node.residents][-1].instance.object))
        gc.collect()
        assert len(here.node.residents) == 100
        assert [trace for trace in traces if trace() is not None] == []
