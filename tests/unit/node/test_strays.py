"""Strays: changes by tasks that a method left running are undone."""

import asyncio
import logging
from typing import Any

import orjson
import pytest

from goverse import Object, call
from tests.nodes import Bench, Meeting, bench, code, settle, value

PLACE = Meeting()


class Ticker(Object, delete="anyone"):
    count: int = 0
    log: list[str] = []
    _task: asyncio.Task[None] | None = None
    _timer: asyncio.Handle | None = None

    def on_deactivate(self) -> None:
        self._task = None

    @call
    def start(self, amount: int, name: str = "stray") -> str:
        self._task = asyncio.get_running_loop().create_task(self._later(amount, name))
        return "started"

    @call
    async def start_async(self, amount: int) -> str:
        self._task = asyncio.get_running_loop().create_task(self._later(amount, "stray"))
        await asyncio.sleep(0)
        return "started"

    @call
    def start_timer(self, amount: int) -> str:
        async def fire() -> None:
            await PLACE.wait("stray")
            self._timer = asyncio.get_running_loop().call_soon(self._change, amount)

        self._task = asyncio.get_running_loop().create_task(fire())
        return "started"

    @call
    def start_and_fail(self, amount: int) -> None:
        self.start(amount, "stray")
        raise ValueError

    @call
    async def start_thread(self, amount: int) -> str:
        self._work = asyncio.ensure_future(asyncio.to_thread(self._change, amount))
        return "started"

    async def _later(self, amount: int, name: str) -> None:
        await PLACE.wait(name)
        self._change(amount)

    def _change(self, amount: int) -> None:
        self.count += amount
        self.log.append("stray")
        PLACE.note("changed")

    @call
    def inc(self) -> int:
        self.count += 1
        return self.count

    @call
    async def inc_later(self) -> int:
        await asyncio.sleep(0)
        self.count += 1
        return self.count

    @call(readonly=True)
    def peek(self) -> int:
        return self.count

    @call(readonly=True)
    async def peek_later(self) -> int:
        await asyncio.sleep(0)
        return self.count

    @call(readonly=True)
    async def hold(self) -> list[Any]:
        log = self.log
        await PLACE.wait("holding")
        return [self.count, log]

    @call(reentrant=True)
    async def inc_reentrant(self) -> int:
        await asyncio.sleep(0)
        self.count += 1
        return self.count


async def _stray(b: Bench, meeting: Meeting, method: str = "start") -> None:
    """Let a method leave a stray that changes the state while no turn runs."""
    assert value(await b.call(Ticker, "t", "inc")) == 1
    assert code(await b.call(Ticker, "t", method, {"amount": 100})) in ("", "method_failed")
    if method != "start_thread":
        await meeting.reached("stray")
        meeting.let_go("stray")
    await _changed(meeting)


async def _changed(meeting: Meeting) -> None:
    from tests.nodes import until

    await until(lambda: "changed" in meeting.happened)
    await settle()


@pytest.mark.parametrize("method", ["start", "start_async", "start_timer", "start_and_fail", "start_thread"])
@pytest.mark.parametrize("then", ["inc", "inc_later", "inc_reentrant", "peek", "peek_later"])
@pytest.mark.requirement("OBJ-2", "OBJ-9")
async def test_a_change_that_no_turn_made_is_undone_before_the_next_turn(
    method: str, then: str, meeting: Meeting, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Ticker) as b:
        await _stray(b, meeting, method)
        with caplog.at_level(logging.WARNING, "goverse.node.turn"):
            assert value(await b.call(Ticker, "t", then)) == (1 if then.startswith("peek") else 2)
        told = next(record for record in caplog.records if "while no turn ran" in record.message)
        assert method in vars(told)["left_behind_by"]
        assert vars(told)["object"].endswith("Ticker/t")
        assert value(await b.call(Ticker, "t", "inc")) == (2 if then.startswith("peek") else 3)
        await b.passivate()
        found = orjson.loads((await b.read(Ticker, "t")).body)
        assert found["log"] == []
        assert found["count"] == (2 if then.startswith("peek") else 3)


async def test_a_change_that_no_turn_made_is_not_committed_by_on_deactivate_or_delete(meeting: Meeting) -> None:
    async with bench(Ticker) as b:
        await _stray(b, meeting)
        await b.passivate()
        assert orjson.loads((await b.read(Ticker, "t")).body)["count"] == 1
        assert value(await b.call(Ticker, "t", "peek")) == 1
        assert code(await b.delete(Ticker, "t")) == ""


async def test_a_readonly_call_that_waits_is_not_charged_with_what_a_stray_does(meeting: Meeting) -> None:
    async with bench(Ticker) as b:
        assert value(await b.call(Ticker, "t", "inc")) == 1
        assert value(await b.call(Ticker, "t", "start", {"amount": 100})) == "started"
        await meeting.reached("stray")
        held = b.call(Ticker, "t", "hold")
        await meeting.reached("holding")
        meeting.let_go("stray")
        await _changed(meeting)
        meeting.let_go("holding")
        assert value(await held) == [1, []]
        assert value(await b.call(Ticker, "t", "inc")) == 2


async def test_the_third_of_three_strays_is_undone_too(meeting: Meeting) -> None:
    async with bench(Ticker) as b:
        for name in ("one", "two", "three"):
            assert value(await b.call(Ticker, "t", "start", {"amount": 10, "name": name})) == "started"
        for name in ("one", "two", "three"):
            await meeting.reached(name)
            meeting.let_go(name)
            await settle()
            assert value(await b.call(Ticker, "t", "peek")) == 0


async def test_an_object_without_strays_is_not_compared_before_a_turn() -> None:
    async with bench(Ticker) as b:
        for method in ("inc", "inc_later", "peek", "peek_later", "inc_reentrant"):
            value(await b.call(Ticker, "t", method))
            [activation] = list(b.node.activations)
            assert activation.state.strays is None, method
