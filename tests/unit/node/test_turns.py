"""Turns: they run alone on their object, take effect completely or not, and do not affect other objects."""

import asyncio
import logging
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import orjson
import pytest
from pydantic import BaseModel, BeforeValidator, Field

from goverse import BusinessError, Object, call
from goverse.errors import GoverseError
from goverse.limits import CLUSTER_SHARDS
from goverse.model.frames import Reply
from goverse_node.node import Node
from tests.nodes import Bench, Meeting, bench, code, problem, until, value

PLACE = Meeting()


class SoldOut(BusinessError):
    """There is nothing left."""

    status = 409
    code = "sold_out_in_turns"


class WithItsOwnInit(BusinessError):
    """Says nothing to its parent."""

    code = "own_init"

    def __init__(self, missing: int) -> None:
        self.missing = missing


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class Aside(BaseException):
    """Not an Exception, as some libraries have them."""


class Line(BaseModel):
    amount: int = Field(ge=0)


def refuses(_given: Any) -> int:
    raise KeyError("the validator itself is broken")


class Basket(Object):
    lines: list[Line] = []
    notes: dict[str, Any] = {}
    total: Annotated[int, Field(ge=0)] = 0
    _cache: int = 0

    @call
    def add(self, amount: int) -> int:
        self.lines.append(Line(amount=amount))
        self.total += amount
        self._cache += 1
        return self.total

    @call
    async def slowly(self, amount: int) -> int:
        total = self.total
        await PLACE.wait("slowly")
        self.total = total + amount
        return self.total

    @call
    def spoil(self, how: str) -> Any:
        self.lines.append(Line(amount=1))
        self.lines[0].amount += 10
        self.notes["spoiled"] = how
        self.total += 1
        return SPOILING[how](self)

    @call
    async def spoil_later(self, how: str) -> Any:
        self.total += 1
        await asyncio.sleep(0)
        return self.spoil(how)

    @call(raises=(LookupError, Unshowable))
    def look(self, shown: bool) -> None:
        raise KeyError("nothing there") if shown else Unshowable

    @call
    def broken_arguments(self, given: Annotated[int, BeforeValidator(refuses)]) -> int:
        return given

    @call
    def typed(self) -> Line:
        return {"amount": "many"}  # type: ignore[return-value]

    @call(readonly=True)
    def peek(self) -> int:
        return self.total


def _raise(error: BaseException) -> Any:
    raise error


def _recurse(basket: Basket) -> Any:
    return _recurse(basket)


def _circular(basket: Basket) -> Any:
    basket.notes["itself"] = basket.notes


def _deep(basket: Basket) -> None:
    nested: list[Any] = []
    for _ in range(5_000):
        nested = [nested]
    basket.notes["deep"] = nested


SPOILING: dict[str, Any] = {
    "an exception": lambda basket: _raise(ValueError("no")),
    "a business error": lambda basket: _raise(SoldOut()),
    "a business error without its parent's init": lambda basket: _raise(WithItsOwnInit(3)),
    "a business error that has no JSON form": lambda basket: _raise(SoldOut("no", thing=object())),
    "an exit": lambda basket: sys.exit(3),
    "a cancellation of its own": lambda basket: _raise(asyncio.CancelledError()),
    "something beside exceptions": lambda basket: _raise(Aside()),
    "a group of errors": lambda basket: _raise(BaseExceptionGroup("many", [Aside(), ValueError()])),
    "endless recursion": _recurse,
    "a result without a JSON form": lambda basket: object(),
    "a result that holds itself": lambda basket: _loop(),
    "a result that is too large": lambda basket: "x" * 2_000,
    "a coroutine as the result": lambda basket: _closed_coroutine(),
    "an undeclared attribute": lambda basket: setattr(basket, "surprise", 1),
    "an attribute without a name": lambda basket: setattr(basket, "", 1),
    "a value of a wrong type": lambda basket: setattr(basket, "total", "many"),
    "a value without a JSON form": lambda basket: basket.notes.update(thing=object()),
    "a value that holds itself": _circular,
    "a value that is too deep": _deep,
    "a string that is no text": lambda basket: basket.notes.update(text="\ud800"),
    "a deleted field": lambda basket: delattr(basket, "total"),
    "a broken constraint": lambda basket: setattr(basket, "total", -1),
    "a state that is too large": lambda basket: basket.notes.update(text="x" * 5_000),
}


@pytest.mark.requirement("OBJ-9", "DUR-2")
@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (Decimal("1.50"), "1.50"),
        (10**30, 10**30),
        ({1}, [1]),
        (b"\xff", "_w=="),
        ({1: 2}, {"1": 2}),
        ("\ud800", "\ud800"),
        (float("nan"), None),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
    ],
)
async def test_a_refusal_may_say_whatever_has_a_form_in_json(
    thing: object, told: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPOILING, "now", lambda _basket: _raise(SoldOut("no", thing=thing)))
    async with bench(Basket) as b:
        refused = problem(await b.call(Basket, "a", "spoil", {"how": "now"}, idempotency_key="k"))
        again = problem(await b.call(Basket, "a", "spoil", {"how": "now"}, idempotency_key="k"))
    assert (refused.code, refused.extra) == ("sold_out_in_turns", {"thing": told})
    assert again == refused


@pytest.mark.requirement("OBJ-9")
async def test_an_error_that_cannot_be_encoded_is_explained_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Basket) as b:
        how = "a business error that has no JSON form"
        assert code(await b.call(Basket, "a", "spoil", {"how": how})) == "method_failed"
    assert "no JSON form" in caplog.records[0].__dict__["reason"]


def _loop() -> Any:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def _closed_coroutine() -> Any:
    coroutine = asyncio.sleep(0)
    coroutine.close()
    return coroutine


@pytest.mark.requirement("OBJ-9", "DUR-2")
@pytest.mark.parametrize("method", ["spoil", "spoil_later"])
@pytest.mark.parametrize("idempotency_key", [None, "k"])
@pytest.mark.parametrize("how", SPOILING)
async def test_a_turn_that_fails_leaves_no_trace(how: str, idempotency_key: str | None, method: str) -> None:
    async with bench(Basket, result_bytes_max=1_000, state_bytes_max=2_000) as b:
        before = value(await b.call(Basket, "a", "add", {"amount": 5}))
        state = (await b.read(Basket, "a")).body

        reply = await b.call(Basket, "a", method, {"how": how}, idempotency_key=idempotency_key)

        assert problem(reply).code in ("method_failed", "sold_out_in_turns", "too_large")
        assert (await b.read(Basket, "a")).body == state
        assert value(await b.call(Basket, "a", "peek")) == before == 5
        assert value(await b.call(Basket, "a", "add", {"amount": 1})) == 6
        assert orjson.loads((await b.read(Basket, "a")).body)["lines"] == [{"amount": 5}, {"amount": 1}]
        assert (await b.read(Basket, "a")).version == 2


@pytest.mark.requirement("OBJ-9")
async def test_a_caller_sees_no_more_than_the_method_declares(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Basket) as b:
        shown = await b.call(Basket, "a", "look", {"shown": True})
        unshowable = await b.call(Basket, "a", "look", {"shown": False})
        hidden = await b.call(Basket, "a", "spoil", {"how": "an exception"})

    assert problem(shown).detail == "Basket.look raised KeyError: 'nothing there'"
    assert problem(shown).extra == {"exception": "KeyError"}
    assert "Unshowable" in problem(unshowable).detail
    assert "ValueError" not in problem(hidden).detail
    assert problem(hidden).extra == {}
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True] * 3


@pytest.mark.requirement("OBJ-9")
async def test_a_validator_that_is_broken_fails_the_call(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Basket) as b:
        assert code(await b.call(Basket, "a", "broken_arguments", {"given": 1})) == "method_failed"
        assert code(await b.call(Basket, "a", "typed")) == "method_failed"


class Stopping(Object):
    value: int = 0

    @call
    def stop(self) -> None:
        self.value = 1
        raise KeyboardInterrupt

    @call
    async def stop_later(self) -> None:
        self.value = 1
        raise KeyboardInterrupt

    @call
    async def close(self) -> None:
        self.value = 1
        raise GeneratorExit

    @call(reentrant=True)
    async def close_in_steps(self) -> None:
        self.value = 1
        raise GeneratorExit

    @call
    def go(self) -> int:
        return self.value


@pytest.mark.requirement("OBJ-9")
@pytest.mark.parametrize("method", ["stop", "stop_later", "close", "close_in_steps"])
async def test_interrupts_and_exits_that_an_application_raises_fail_the_call_alone(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Stopping) as b:
        assert code(await b.call(Stopping, "a", method)) == "method_failed"
        assert value(await b.call(Stopping, "a", "go")) == 0


@pytest.mark.requirement("OBJ-9")
async def test_an_interrupt_from_the_keyboard_ends_the_turn_and_passes_on_in_tests(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench(Stopping) as b:
        b.node.passes_interrupts = True
        with pytest.raises(KeyboardInterrupt):
            b.call(Stopping, "a", "stop")
        assert value(await b.call(Stopping, "a", "go")) == 0


@pytest.mark.requirement("OBJ-9")
async def test_a_turn_that_cannot_be_ended_is_answered_and_its_object_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Basket) as b:
        await b.call(Basket, "a", "add", {"amount": 5})
        with monkeypatch.context() as patch:
            patch.setattr(Node, "resized", lambda self, activation: 1 / 0)
            reply = await b.call(Basket, "a", "add", {"amount": 1})
        assert code(reply) == "unavailable"
        assert value(await b.call(Basket, "a", "peek")) in (5, 6)


@pytest.mark.requirement("OBJ-2")
async def test_turns_of_one_object_run_one_after_the_other_in_order(meeting: Meeting) -> None:
    async with bench(Basket) as b:
        calls = [b.call(Basket, "a", "slowly", {"amount": n}) for n in (1, 10, 100)]
        for _ in calls:
            await meeting.reached("slowly")
            assert meeting.happened.count("slowly") == len([c for c in calls if c.done()]) + 1
            meeting.let_go("slowly")
            done = len([c for c in calls if c.done()])
            await until(lambda: len([c for c in calls if c.done()]) > done)  # noqa: B023
        assert [value(await each) for each in calls] == [1, 11, 111]
        assert [(await each).version for each in calls] == [1, 2, 3]


@pytest.mark.requirement("OBJ-2")
async def test_objects_do_not_wait_for_each_other(meeting: Meeting) -> None:
    async with bench(Basket) as b:
        blocked = b.call(Basket, "a", "slowly", {"amount": 1})
        await meeting.reached("slowly")

        assert value(await b.call(Basket, "b", "add", {"amount": 2})) == 2
        assert not blocked.done()

        meeting.let_go("slowly")
        assert value(await blocked) == 1


class Gauge(Object):
    level: int = 0
    log: list[str] = []

    @call
    def set(self, level: int) -> int:
        self.level = level
        return level

    @call(readonly=True)
    async def watch(self, name: str, touch: bool = False) -> int:
        if touch:
            self.log.append(name)
        await PLACE.wait(name)
        return self.level

    @call(readonly=True)
    async def touch_then_hold_on(self, name: str) -> str:
        self.level += 1
        try:
            await PLACE.wait(name)
        except GoverseError as error:
            PLACE.note(error.code)
        return "caught"

    @call(readonly=True)
    async def touch_at_the_end(self) -> int:
        await asyncio.sleep(0)
        self.level += 1
        return self.level

    @call(readonly=True)
    def touch_at_once(self) -> int:
        self.level += 1
        return self.level

    @call(readonly=True)
    def undeclared(self) -> None:
        self.surprise = 1


@pytest.mark.requirement("OBJ-2")
async def test_readonly_turns_run_beside_each_other_and_writers_wait_for_them(meeting: Meeting) -> None:
    async with bench(Gauge) as b:
        readers = [b.call(Gauge, "a", "watch", {"name": name}) for name in ("one", "two")]
        await meeting.reached("one")
        await meeting.reached("two")
        writer = b.call(Gauge, "a", "set", {"level": 7})
        late = b.call(Gauge, "a", "watch", {"name": "three"})

        meeting.let_go("two")
        assert value(await readers[1]) == 0
        assert not writer.done()
        meeting.let_go("one")
        assert value(await writer) == 7
        await meeting.reached("three")
        meeting.let_go("three")
        assert value(await late) == 7


@pytest.mark.requirement("OBJ-2", "OBJ-9")
@pytest.mark.parametrize("method", ["touch_at_the_end", "touch_at_once", "undeclared"])
async def test_a_readonly_method_that_changes_the_state_fails(method: str, caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Gauge) as b:
        await b.call(Gauge, "a", "set", {"level": 3})

        reply = await b.call(Gauge, "a", method)

        assert code(reply) == "method_failed"
        assert value(await b.call(Gauge, "a", "set", {"level": 4})) == 4
        assert orjson.loads((await b.read(Gauge, "a")).body) == {"level": 4, "log": []}
        assert (await b.read(Gauge, "a")).version == 2


@pytest.mark.requirement("OBJ-2", "OBJ-9")
async def test_of_several_readonly_turns_only_the_one_that_changed_the_state_is_blamed(meeting: Meeting) -> None:
    async with bench(Gauge) as b:
        await b.call(Gauge, "a", "set", {"level": 3})
        first = b.call(Gauge, "a", "watch", {"name": "first"})
        guilty = b.call(Gauge, "a", "watch", {"name": "guilty", "touch": True})
        last = b.call(Gauge, "a", "watch", {"name": "last"})

        assert code(await guilty) == "method_failed"
        await meeting.reached("first")
        await meeting.reached("last")
        meeting.let_go("last")
        meeting.let_go("first")
        assert [value(await first), value(await last)] == [3, 3]
        assert orjson.loads((await b.read(Gauge, "a")).body)["log"] == []


@pytest.mark.requirement("OBJ-2", "OBJ-9")
async def test_a_readonly_turn_meets_its_violation_where_it_next_waits(meeting: Meeting) -> None:
    async with bench(Gauge) as b:
        await b.call(Gauge, "a", "set", {"level": 3})

        assert code(await b.call(Gauge, "a", "touch_then_hold_on", {"name": "x"})) == "method_failed"
        assert meeting.happened == ["x", "method_failed"]
        assert orjson.loads((await b.read(Gauge, "a")).body)["level"] == 3


class Lingering(Object):
    value: int = 0

    @call
    async def begin(self) -> int:
        self._task = asyncio.get_running_loop().create_task(self._go_on())
        await asyncio.sleep(0)
        return self.value

    async def _go_on(self) -> None:
        await PLACE.wait("outside")
        try:
            await self.ref(Lingering, "other").touch()
        except GoverseError as error:
            PLACE.note(error.detail)

    @call
    async def touch(self) -> int:
        self.value += 1
        return self.value


@pytest.mark.requirement("OBJ-9", "OBJ-8")
async def test_a_task_that_outlives_its_turn_cannot_call_other_objects(meeting: Meeting) -> None:
    async with bench(Lingering) as b:
        assert value(await b.call(Lingering, "a", "begin")) == 0
        await meeting.reached("outside")
        meeting.let_go("outside")
        await until(lambda: len(meeting.happened) > 1)

        assert "has ended" in meeting.happened[-1]
        assert code(await b.read(Lingering, "other")) == "object_not_found"


@pytest.mark.requirement("OBJ-1")
async def test_only_what_is_exported_can_be_called() -> None:
    async with bench(Basket) as b:
        for name in ("_recurse", "id", "lines", "ref", "__init__", "on_create", "nothing", ""):
            assert code(await b.call(Basket, "a", name)) == "unknown_method"
        assert code(await b.call("Nothing", "a", "add")) == "unknown_type"
        assert code(await b.call(Basket, "a", "add", {"amount": "5"})) == "invalid_arguments"
        assert code(await b.call(Basket, "a", "add")) == "invalid_arguments"
        assert len(b.node.activations) == 1
        assert code(await b.read(Basket, "a")) == "object_not_found"


@pytest.mark.requirement("OBJ-3")
async def test_reserved_ids_name_a_place_that_must_exist() -> None:
    async with bench(Basket, node_id="here") as b:
        assert value(await b.call(Basket, f"shard#{CLUSTER_SHARDS - 1}/x", "add", {"amount": 1})) == 1
        assert value(await b.call(Basket, "node#here/x", "add", {"amount": 1})) == 1
        assert code(await b.call(Basket, f"shard#{CLUSTER_SHARDS}/x", "add", {"amount": 1})) == "malformed_request"
        assert code(await b.call(Basket, "node#there/x", "add", {"amount": 1})) == "unavailable"


async def _answers(b: Bench, count: int) -> list[Reply]:
    return await asyncio.gather(*(b.call(Basket, "a", "add", {"amount": 1}) for _ in range(count)))


@pytest.mark.requirement("OBJ-2", "DUR-1")
async def test_many_calls_at_once_each_count() -> None:
    async with bench(Basket) as b:
        replies = await _answers(b, 500)

        assert [value(reply) for reply in replies] == list(range(1, 501))
        assert [reply.version for reply in replies] == list(range(1, 501))
        assert b.node.stats.commit_batches < 500
