"""Context variables: a value that a turn sets is visible to the rest of that turn only."""

import asyncio
import decimal
from contextvars import ContextVar, copy_context
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import BeforeValidator

from goverse import BusinessError, Object, call
from goverse.objects.context import current_turn
from tests.nodes import Bench, Meeting, bench, code, until, value

PLACE = Meeting()
tenant = ContextVar("tenant", default="none")


def notes(given: Any) -> Any:
    tenant.set("a validator")
    return given


class Desk(Object, reentrant=True):
    seen: list[str] = []
    total: Decimal = Decimal(0)

    def on_activate(self) -> None:
        tenant.set("on_activate")

    @call
    def plain(self, name: str) -> str:
        before = tenant.get()
        tenant.set(name)
        return before

    @call
    async def later(self, name: str) -> str:
        before = tenant.get()
        tenant.set(name)
        await asyncio.sleep(0)
        assert tenant.get() == name
        return before

    @call(readonly=True)
    def peek(self) -> str:
        tenant.set("peek")
        return "nothing"

    @call
    def refuse(self, name: str) -> None:
        tenant.set(name)
        raise BusinessError("no")

    @call
    def check(self, given: Annotated[int, BeforeValidator(notes)]) -> str:
        return tenant.get()

    @call
    def result(self) -> Annotated[str, BeforeValidator(notes)]:
        return "x"

    @call(readonly=True)
    async def look(self) -> str:
        return tenant.get()

    @call
    def look_plainly(self) -> str:
        return tenant.get()

    @call
    async def spread(self, name: str) -> list[str]:
        tenant.set(name)
        other = self.ref("Desk", "other")
        return [await other.look(), await other.look_plainly(), await self.ref(Desk, self.id).look(), tenant.get()]

    @call
    async def fan_out(self, name: str) -> list[str]:
        tenant.set(name)

        async def child() -> str:
            return tenant.get()

        async with asyncio.TaskGroup() as group:
            children = [group.create_task(child()) for _ in range(2)]
        return [one.result() for one in children]

    @call
    def divide(self, digits: int) -> str:
        decimal.getcontext().prec = digits
        return str(Decimal(1) / Decimal(3))

    @call
    async def precision(self) -> int:
        return decimal.getcontext().prec


async def _looks(b: Bench, object_id: str) -> list[str]:
    """Return the value that later calls see, on this object and another, in a plain method and a coroutine."""
    targets = [(object_id, "look"), (object_id, "look_plainly"), ("another", "look"), ("another", "look_plainly")]
    return [value(await b.call(Desk, target, method)) for target, method in targets]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("plain", {"name": "ann"}),
        ("later", {"name": "ann"}),
        ("peek", None),
        ("refuse", {"name": "ann"}),
        ("check", {"given": 1}),
        ("result", None),
        ("spread", {"name": "ann"}),
    ],
)
@pytest.mark.requirement("OBJ-2")
async def test_what_a_turn_sets_is_seen_by_no_other_call(method: str, arguments: dict[str, Any] | None) -> None:
    async with bench(Desk) as b:
        reply = await b.call(Desk, "a", method, arguments)
        assert code(reply) in ("", "business_error")
        assert await _looks(b, "a") == ["none"] * 4
        assert tenant.get() == "none"


@pytest.mark.requirement("OBJ-2")
async def test_a_method_sees_the_same_whether_its_caller_set_something_or_not() -> None:
    async with bench(Desk) as b:
        tenant.set("the test")
        try:
            assert value(await b.call(Desk, "a", "plain", {"name": "x"})) == "none"
            assert value(await b.call(Desk, "a", "later", {"name": "x"})) == "none"
            assert value(await b.call(Desk, "a", "spread", {"name": "ann"})) == ["none", "none", "none", "ann"]
        finally:
            tenant.set("none")


async def test_a_waiter_of_a_reply_is_in_no_context_of_the_turn() -> None:
    async with bench(Desk) as b:
        value(await b.call(Desk, "a", "plain", {"name": "ann"}))
        assert copy_context().get(tenant, "none") == "none"
        assert current_turn.get() is None


async def test_tasks_of_a_method_see_what_the_method_set() -> None:
    async with bench(Desk) as b:
        assert value(await b.call(Desk, "a", "fan_out", {"name": "ann"})) == ["ann", "ann"]


async def test_what_was_set_before_the_node_started_is_seen_by_every_turn() -> None:
    token = tenant.set("the application")
    try:
        async with bench(Desk) as b:
            tenant.set("later")
            assert value(await b.call(Desk, "a", "look")) == "the application"
            assert value(await b.call(Desk, "a", "look_plainly")) == "the application"
    finally:
        tenant.reset(token)


@pytest.mark.requirement("OBJ-2")
async def test_a_precision_that_a_method_sets_is_its_own() -> None:
    decimal.getcontext().prec = 11  # as an application does at the top of its module
    try:
        async with bench(Desk) as b:
            assert value(await b.call(Desk, "a", "precision")) == 11
            assert value(await b.call(Desk, "a", "divide", {"digits": 4})) == "0.3333"
            assert value(await b.call(Desk, "a", "precision")) == 11
            assert decimal.getcontext().prec == 11
    finally:
        decimal.getcontext().prec = 28


async def test_hooks_and_methods_that_wait_keep_their_own_values(meeting: Meeting) -> None:
    class Waits(Object):
        @call
        async def hold(self, name: str) -> str:
            tenant.set(name)
            await PLACE.wait(name)
            return tenant.get()

    async with bench(Waits, Desk) as b:
        calls = [b.call(Waits, name, "hold", {"name": name}) for name in ("ann", "bob")]
        await until(lambda: len(meeting.happened) == 2)
        assert value(await b.call(Desk, "a", "plain", {"name": "eve"})) == "none"
        meeting.let_go("bob")
        meeting.let_go("ann")
        assert [value(await each) for each in calls] == ["ann", "bob"]
