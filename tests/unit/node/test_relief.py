"""The bound on objects follows the memory that is measured: down near the limit, up again far from it."""

from __future__ import annotations

import asyncio

import pytest

from goverse import Object, call
from goverse.limits import MIB
from goverse.model.frames import Operation, Request
from goverse.model.keys import ObjectKey
from goverse.objects.registry import Registry
from goverse_node.node import Node
from goverse_node.relief import FAR, NEAR, Relief
from goverse_node.stores.memory import MemoryStore
from tests.nodes import until

SET = 500 * MIB


class Meter:
    """The used share of memory, as a test says it."""

    def __init__(self) -> None:
        self.used = 0.5
        self.given_back = 0

    def give_back(self) -> None:
        self.given_back += 1


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def relief(meter: Meter) -> Relief:
    return Relief(SET, lambda: meter.used, meter.give_back)


def test_far_from_the_limit_the_bound_is_the_one_that_was_set(relief: Relief) -> None:
    assert relief.look(10 * MIB) == SET


@pytest.mark.requirement("OPS-7")
def test_near_the_limit_objects_get_no_more_than_they_have_and_less_while_use_grows(
    meter: Meter, relief: Relief
) -> None:
    meter.used = NEAR
    assert relief.look(100 * MIB) == 90 * MIB
    assert relief.look(90 * MIB) == 90 * MIB, "use stands still: what is freed is used again"
    meter.used = NEAR + 0.05
    assert relief.look(90 * MIB) == 81 * MIB
    assert meter.given_back == 2


@pytest.mark.requirement("OPS-7")
def test_between_near_and_far_the_bound_stays_and_comes_back_step_by_step_behind(meter: Meter, relief: Relief) -> None:
    meter.used = NEAR
    tight = relief.look(100 * MIB)
    meter.used = FAR
    assert relief.look(tight) == tight
    meter.used = FAR - 0.01
    assert tight < relief.look(tight) < 1.11 * tight
    for _ in range(100):
        relief.look(tight)
    assert relief.bytes_max == SET


def test_the_bound_never_falls_to_nothing(meter: Meter, relief: Relief) -> None:
    for step in range(10):
        meter.used = 0.9 + step / 100
        assert relief.look(0) == MIB


class Text(Object):
    text: str = ""

    @call
    def write(self, text: str) -> None:
        self.text = text


@pytest.mark.requirement("OPS-7", "OBJ-5")
async def test_a_node_near_its_limit_lets_the_least_recently_used_go_and_serves_on(meter: Meter) -> None:
    store = MemoryStore()
    await store.open()
    node = Node(Registry([Text]), store, memory=lambda: meter.used)
    await node.start()

    async def write(name: str) -> None:
        body = b'{"text": "%s"}' % (b"x" * 100_000)
        reply = await node.submit(
            Request(Operation.CALL, ObjectKey("default", "Text", name), "write", body, node.now() + 10.0, "r")
        )
        assert reply.problem is None, reply.problem

    await asyncio.gather(*(write(f"early-{number}") for number in range(10)))
    await write("late")
    meter.used = 0.9
    await until(lambda: len(node.residents) < 11)
    assert node.residents.get(ObjectKey("default", "Text", "late")) is not None
    meter.used = 0.5
    await asyncio.gather(*(write(f"early-{number}") for number in range(10)))
    await node.stop()
