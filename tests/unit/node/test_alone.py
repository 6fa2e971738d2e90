"""The place for the one suspect that may run on a node."""

import asyncio

import pytest

from goverse.errors import TryAgain
from goverse.model.frames import Operation, Request
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Delivery
from goverse_node.runtime.alone import GRANTED, PLACE_S, Alone
from goverse_node.runtime.call import Call
from goverse_node.runtime.stats import NodeStats

pytestmark = pytest.mark.requirement("DUR-3")

SENDER = ObjectKey("default", "Buyer", "a")


def delivery(number: int) -> Delivery:
    return Delivery(SENDER, number, 0, number, 1, alone=True)


def call_of(each: Delivery) -> Call:
    request = Request(Operation.CALL, ObjectKey("default", "Shop", "s"), "work", b"{}", 10.0, "r", delivery=each)
    return Call(request, asyncio.get_running_loop().create_future(), NodeStats())


def asks(alone: Alone, number: int, now: float) -> tuple[Call, TryAgain | None]:
    each = delivery(number)
    call = call_of(each)
    return call, alone.refusal(call, each, now)


def granted(refusal: TryAgain | None) -> bool:
    assert refusal is not None, "the delivery may run"
    return GRANTED in refusal.extra


async def test_the_first_delivery_gets_the_place_and_the_second_one_runs() -> None:
    alone = Alone()
    assert granted(asks(alone, 1, 0.0)[1])
    call, refusal = asks(alone, 1, 1.0)
    assert refusal is None
    assert alone.refusal(call, delivery(1), 1.0) is None  # judged again when its turn starts


async def test_no_other_suspect_runs_meanwhile() -> None:
    alone = Alone()
    assert granted(asks(alone, 1, 0.0)[1])
    assert not granted(asks(alone, 2, 1.0)[1])
    call, refusal = asks(alone, 1, 2.0)
    assert refusal is None
    assert not granted(asks(alone, 2, PLACE_S * 9)[1])
    assert not alone.take((SENDER, 2), PLACE_S * 9)
    call.answered = True
    assert granted(asks(alone, 2, PLACE_S * 9)[1])


async def test_a_place_that_is_not_used_is_given_to_the_next() -> None:
    alone = Alone()
    assert granted(asks(alone, 1, 0.0)[1])
    assert granted(asks(alone, 2, PLACE_S)[1])
    assert not granted(asks(alone, 1, PLACE_S)[1])


async def test_the_turn_that_receives_an_outcome_has_the_place_until_it_leaves() -> None:
    alone = Alone()
    assert alone.take((SENDER, 1), 0.0)
    assert not granted(asks(alone, 2, PLACE_S * 9)[1])
    alone.leave((SENDER, 2))
    assert not granted(asks(alone, 2, PLACE_S * 9)[1])
    alone.leave((SENDER, 1))
    assert granted(asks(alone, 2, PLACE_S * 9)[1])
