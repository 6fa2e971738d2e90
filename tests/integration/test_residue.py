"""Objects enter and leave memory for as long as a node runs, and leave no data behind."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator

import orjson
import pytest

from goverse import Object, call
from goverse.model.frames import Operation, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse.objects.registry import Registry
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from goverse_node.runtime.activation import Activation
from goverse_node.runtime.turn import Turn
from goverse_node.stores.memory import MemoryStore
from tests.nodes import bench, code, value
from tests.tiers import forms

BATCH = 1_000


class Visitor(Object):
    visits: int = 0

    @call
    def come(self) -> int:
        self.visits += 1
        return self.visits

    @call
    async def come_and_fail(self) -> None:
        self.visits += 1
        await asyncio.sleep(0)
        raise ValueError("on purpose")

    @call(reentrant=True)
    async def come_back(self) -> int:
        return await self.ref(Visitor, self.id).come_in()

    @call
    async def come_in(self) -> int:
        self.visits += 1
        return self.visits


@pytest.fixture
def without_records() -> Iterator[None]:
    """Log no failed method: a record that pytest keeps holds the traceback, and that the object.

    The level counts also where an earlier test has made the logger one that cannot be disabled.
    """
    logger = logging.getLogger("goverse.node.turn")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(before)


def _close_all(node: Node) -> None:
    for activation in node.activations:
        activation.close()


@pytest.mark.requirement("OBJ-5")
@pytest.mark.parametrize("cycles", forms(quick=4_000, system=20_000))
async def test_many_cycles_of_activation_and_passivation_leave_nothing_behind(cycles: int) -> None:
    store = MemoryStore()
    await store.open()
    node = Node(Registry([Visitor]), store, options=NodeOptions(activations_max=BATCH // 2))
    await node.start()
    for first in range(0, cycles, BATCH):
        requests = [
            Request(
                Operation.CALL,
                ObjectKey(DEFAULT_NAMESPACE, "Visitor", str((first + number) % 10_000)),
                "come" if number % 3 else "come_back",
                b"",
                node.now() + 60,
                "r",
                idempotency_key=f"k{first}-{number}" if number % 2 else None,
            )
            for number in range(BATCH)
        ]
        replies = await asyncio.gather(*map(node.submit, requests))
        assert [reply.problem for reply in replies] == [None] * BATCH
        assert len(node.activations) <= BATCH
    _close_all(node)
    await node.settled()

    assert len(node.activations) == 0
    assert (node.activations.bytes, node.activations.leaving) == (0, 0)
    assert not any(node.activations._queues.values())
    assert (node.deadlines.running, node.deadlines.waiting) == ({}, {})
    assert node.stats.inflight == 0
    assert node.stats.activations == node.stats.passivations >= cycles
    gc.collect()
    assert [one for one in gc.get_objects() if isinstance(one, Activation) and one.host is node] == []
    total = 0
    for summary in await store.list(DEFAULT_NAMESPACE, "Visitor", prefix="", after=None, limit=20_000):
        stored = store.load(ObjectKey(DEFAULT_NAMESPACE, "Visitor", summary.id))
        assert stored is not None
        assert stored.state is not None
        total += orjson.loads(stored.state)["visits"]
    assert total == cycles
    await node.stop()
    await store.close()


@pytest.mark.requirement("OBJ-5")
@pytest.mark.usefixtures("without_records")
async def test_an_object_that_left_memory_is_freed_without_the_garbage_collector() -> None:
    async with bench(Visitor) as b:
        assert value(await b.call(Visitor, "a", "come", idempotency_key="k")) == 1
        assert code(await b.call(Visitor, "a", "come_and_fail")) == "method_failed"
        assert value(await b.call(Visitor, "a", "come_back")) == 2
        gc.collect()
        (activation,) = b.node.activations
        gone = weakref.ref(activation.state.instance.object)
        del activation
        gc.disable()
        try:
            await b.passivate()
            await asyncio.sleep(0)
            assert gone() is None
        finally:
            gc.enable()


@pytest.mark.requirement("OBJ-5")
@pytest.mark.usefixtures("without_records")
async def test_a_call_leaves_nothing_for_the_garbage_collector() -> None:
    async with bench(Visitor) as b:
        gc.collect()
        of_other_tests = [one for one in gc.get_objects() if isinstance(one, Turn)]
        gc.disable()
        try:
            assert value(await b.call(Visitor, "a", "come_in")) == 1
            assert code(await b.call(Visitor, "a", "come_and_fail")) == "method_failed"
            await asyncio.sleep(0)
            assert [one for one in gc.get_objects() if isinstance(one, Turn) and one not in of_other_tests] == []
        finally:
            gc.enable()
