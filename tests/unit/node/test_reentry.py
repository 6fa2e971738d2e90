"""Call chains that return to an object: they run if the class allows it and the object has no uncommitted changes."""

import asyncio
from typing import Annotated, Any

import orjson
import pytest
from pydantic import Field

from goverse import Object, call
from goverse.errors import GoverseError
from goverse.model.frames import Reply
from tests.nodes import Bench, Meeting, bench, code, key_of, problem, until, value

PLACE = Meeting()


class Echo(Object):
    """Calls back the object that called it."""

    calls: int = 0

    @call
    async def back(self, to: str, target: str, method: str, by: int = 0) -> Any:
        self.calls += 1
        reference = self.ref(to, target)
        return await getattr(reference, method)(**({"by": by} if by else {}))

    @call(readonly=True)
    async def look_back(self, to: str, target: str, method: str) -> Any:
        return await getattr(self.ref(to, target), method)()

    @call
    async def wait_then_back(self, to: str, target: str, method: str, name: str) -> Any:
        await PLACE.wait(name)
        return await getattr(self.ref(to, target), method)()


class Ledger(Object):
    value: int = 0

    @call
    async def add(self, by: int = 1) -> int:
        PLACE.note("add")
        self.value += by
        return self.value

    @call(readonly=True)
    async def look(self) -> int:
        return self.value

    @call
    async def closed_round_trip(self) -> Any:
        return await self.ref(Echo, "e").back(to="Ledger", target=self.id, method="add")

    @call
    async def closed_round_trip_that_goes_on(self) -> str:
        try:
            await self.closed_round_trip()
        except GoverseError as error:
            self.value += 100
            return error.code
        return ""

    @call(reentrant=True)
    async def round_trip(self, method: str = "add", by: int = 0) -> list[Any]:
        answer = await self.ref(Echo, "e").back(to="Ledger", target=self.id, method=method, by=by)
        self.value += 1000
        return [answer, self.value]

    @call(reentrant=True)
    async def round_trip_then_fail(self) -> None:
        await self.ref(Echo, "e").back(to="Ledger", target=self.id, method="add")
        self.value += 1000
        raise ValueError("after the nested call was committed")

    @call(reentrant=True)
    async def dirty_round_trip(self) -> Any:
        self.value += 10
        return await self.ref(Echo, "e").back(to="Ledger", target=self.id, method="add")

    @call(reentrant=True)
    async def twice_at_once(self) -> list[int]:
        one = self.ref(Echo, "e1").back(to="Ledger", target=self.id, method="add", by=1)
        two = self.ref(Echo, "e2").back(to="Ledger", target=self.id, method="add", by=2)
        return sorted(await asyncio.gather(one, two))

    @call(reentrant=True)
    async def slow_and_quick_at_once(self) -> list[Any]:
        slow = self.ref(Echo, "e1").back(to="Ledger", target=self.id, method="add_slowly")
        quick = self.ref(Echo, "e2").wait_then_back(to="Ledger", target=self.id, method="add", name="quick")
        return [
            answer.code if isinstance(answer, GoverseError) else answer
            for answer in await asyncio.gather(slow, quick, return_exceptions=True)
        ]

    @call
    async def add_slowly(self) -> int:
        self.value += 1
        await PLACE.wait("half way")
        self.value += 1
        return self.value

    @call(reentrant=True)
    async def give_up_on_it(self) -> int:
        task = asyncio.ensure_future(self.ref(Echo, "e").back(to="Ledger", target=self.id, method="add_slowly"))
        await PLACE.wait("given up")
        task.cancel()
        return self.value

    @call(readonly=True)
    async def look_around(self, method: str = "look") -> int:
        return int(await self.ref(Echo, "e").look_back(to="Ledger", target=self.id, method=method))

    @call(reentrant=True)
    async def deep(self, depth: int) -> int:
        if depth == 0:
            return self.value
        self_again: Any = self.ref("Ledger", self.id)
        return int(await self_again.deep(depth=depth - 1))


async def _ask(b: Bench, called: str, **arguments: Any) -> Reply:
    return await b.call(Ledger, "a", called, arguments)


@pytest.mark.requirement("OBJ-2", "OBJ-8")
async def test_a_chain_that_returns_to_a_closed_object_gets_deadlock() -> None:
    async with bench(Ledger, Echo) as b:
        assert code(await _ask(b, "closed_round_trip")) == "deadlock"
        assert value(await _ask(b, "look")) == 0
        assert value(await _ask(b, "closed_round_trip_that_goes_on")) == "deadlock"
        assert value(await _ask(b, "look")) == 100


class Introduced(Object, reentrant=True):
    """Asks another object to call back while a hook runs."""

    async def on_create(self) -> None:
        await self.ref(Echo, "e").back(to="Introduced", target=self.id, method="name")

    @call
    async def name(self) -> str:
        return self.id


class Awakened(Object, reentrant=True):
    async def on_activate(self) -> None:
        await self.ref(Echo, "e").back(to="Awakened", target=self.id, method="name")

    @call
    async def name(self) -> str:
        return self.id


@pytest.mark.requirement("OBJ-2", "OBJ-8")
@pytest.mark.parametrize(("target", "hook"), [(Introduced, "on_create"), (Awakened, "on_activate")])
async def test_the_advice_where_a_hook_waits_is_not_to_make_it_reentrant(target: type[Any], hook: str) -> None:
    async with bench(target, Echo) as b:
        told = problem(await b.call(target, "a", "name"))

        assert told.code == "deadlock"
        assert f"waits for it in {hook}; calls cannot return to an object while its hook runs" in told.detail
        assert "reentrant" not in told.detail


@pytest.mark.requirement("OBJ-2", "OBJ-8")
async def test_the_advice_where_a_method_waits_is_to_make_it_reentrant() -> None:
    async with bench(Ledger, Echo) as b:
        assert "declare that method reentrant=True" in problem(await _ask(b, "closed_round_trip")).detail


@pytest.mark.requirement("OBJ-2", "OBJ-8")
async def test_a_chain_that_returns_to_a_reentrant_method_runs_inside_it() -> None:
    async with bench(Ledger, Echo) as b:
        reply = await _ask(b, "round_trip", by=5)

        assert value(reply) == [5, 1005]
        assert reply.version == 2
        assert value(await _ask(b, "look")) == 1005


@pytest.mark.requirement("OBJ-2", "DUR-1")
async def test_what_a_nested_call_committed_survives_the_failure_of_the_outer_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench(Ledger, Echo) as b:
        assert code(await _ask(b, "round_trip_then_fail")) == "method_failed"
        assert value(await _ask(b, "look")) == 1
        assert orjson.loads((await b.read(Ledger, "a")).body) == {"value": 1}


@pytest.mark.requirement("OBJ-2")
async def test_no_call_reenters_a_turn_with_uncommitted_changes() -> None:
    async with bench(Ledger, Echo) as b:
        reply = await _ask(b, "dirty_round_trip")

        assert code(reply) == "deadlock"
        assert "uncommitted" in problem(reply).detail
        assert value(await _ask(b, "look")) == 0


@pytest.mark.requirement("OBJ-2")
async def test_several_nested_calls_at_once_each_count() -> None:
    async with bench(Ledger, Echo) as b:
        assert value(await _ask(b, "twice_at_once")) in ([1, 3], [2, 3])
        assert value(await _ask(b, "look")) == 3


@pytest.mark.requirement("OBJ-2")
async def test_a_nested_call_beside_one_with_uncommitted_changes_conflicts(meeting: Meeting) -> None:
    async with bench(Ledger, Echo) as b:
        outer = b.call(Ledger, "a", "slow_and_quick_at_once")
        await meeting.reached("half way")
        await meeting.reached("quick")
        meeting.let_go("quick")
        await until(lambda: b.node.stats.inflight == 3)
        meeting.let_go("half way")

        assert value(await outer) == [2, "reentrancy_conflict"]
        assert "add" not in meeting.happened
        assert value(await _ask(b, "look")) == 2


@pytest.mark.requirement("OBJ-2")
async def test_a_turn_cannot_answer_while_another_has_uncommitted_changes(meeting: Meeting) -> None:
    async with bench(Ledger, Echo) as b:
        outer = b.call(Ledger, "a", "give_up_on_it")
        await meeting.reached("half way")
        await meeting.reached("given up")
        meeting.let_go("given up")

        reply = await outer
        assert code(reply) == "reentrancy_conflict"
        assert problem(reply).retryable
        meeting.let_go("half way")
        assert value(await _ask(b, "look")) == 2


@pytest.mark.requirement("OBJ-2")
async def test_a_readonly_turn_lets_readers_back_in_and_no_writers() -> None:
    async with bench(Ledger, Echo) as b:
        await _ask(b, "add", by=4)
        assert value(await _ask(b, "look_around")) == 4
        reply = await _ask(b, "look_around", method="add")
        assert code(reply) == "readonly_violation"
        assert "called Ledger.add of Ledger/" in problem(reply).detail


@pytest.mark.requirement("OBJ-2", "GATE-9")
async def test_a_chain_has_a_bound() -> None:
    async with bench(Ledger, Echo) as b:
        assert value(await _ask(b, "deep", depth=20)) == 0
        reply = await _ask(b, "deep", depth=60)
        assert code(reply) == "deadlock"
        assert "longer than" in problem(reply).detail


@pytest.mark.requirement("OBJ-2")
async def test_a_call_whose_waiting_turn_has_ended_is_refused(meeting: Meeting) -> None:
    async with bench(Ledger, Echo) as b:
        chain = (key_of(Ledger, "a"), key_of(Echo, "e"))
        stray = await b.call(Ledger, "a", "add", chain=chain, request_id="gone")
        assert code(stray) == "deadlock"
        assert "already ended" in problem(stray).detail

        other = b.call(Ledger, "a", "give_up_on_it", request_id="present")
        await meeting.reached("given up")
        await meeting.reached("half way")
        assert code(await b.call(Ledger, "a", "add", chain=chain, request_id="gone")) == "deadlock"
        meeting.let_go("half way")
        meeting.let_go("given up")
        await other
        assert code(await b.delete(Ledger, "a", chain=chain)) == "deadlock"


class Dipping(Object):
    """Breaks its constraint for a moment."""

    level: Annotated[int, Field(ge=0)] = 0

    @call
    async def dip(self) -> int:
        self.level = -1
        await PLACE.wait("below")
        self.level = 1
        return self.level

    @call(reentrant=True)
    async def interrupt(self) -> None:
        task = asyncio.ensure_future(self.ref(Echo, "e").back(to="Dipping", target=self.id, method="dip"))
        await PLACE.wait("interrupting")
        self.level = 5
        await asyncio.wait([task])

    @call(readonly=True)
    def look(self) -> int:
        return self.level


@pytest.mark.requirement("OBJ-2", "OBJ-9")
async def test_a_turn_goes_on_from_a_state_half_way_after_another_one_was_put_back_to_it(meeting: Meeting) -> None:
    async with bench(Dipping, Echo) as b:
        outer = b.call(Dipping, "a", "interrupt")
        await meeting.reached("below")
        await meeting.reached("interrupting")
        meeting.let_go("interrupting")

        assert code(await outer) == "reentrancy_conflict"
        meeting.let_go("below")
        assert value(await b.call(Dipping, "a", "look")) == 1
        assert orjson.loads((await b.read(Dipping, "a")).body) == {"level": 1}


class Steps(Object):
    """Sets its fields one after the other, while its calls return to it."""

    low: int
    high: int

    @call(reentrant=True)
    async def fill(self, low: int, high: int, fail: bool = False) -> list[int]:
        self.low = low
        await PLACE.wait("filling")
        if fail:
            raise ValueError
        self.high = high
        return [self.low, self.high]

    @call(readonly=True)
    def peek(self) -> int:
        self.low = 1
        return 0


@pytest.mark.requirement("OBJ-1", "OBJ-2", "OBJ-9")
async def test_a_reentrant_method_may_fill_required_fields_in_several_steps(meeting: Meeting) -> None:
    async with bench(Steps) as b:
        failing = b.call(Steps, "a", "fill", {"low": 1, "high": 2, "fail": True})
        await meeting.reached("filling")
        meeting.let_go("filling")
        assert code(await failing) == "method_failed"
        assert code(await b.read(Steps, "a")) == "object_not_found"
        await b.call(Steps, "a", "peek")

        filling = b.call(Steps, "a", "fill", {"low": 3, "high": 4})
        await meeting.reached("filling")
        assert "low" in vars(b.node.activations.get(key_of(Steps, "a")).state.instance.object)  # type: ignore[union-attr]
        meeting.let_go("filling")
        assert value(await filling) == [3, 4]


@pytest.mark.requirement("OBJ-1", "OBJ-9")
async def test_a_new_object_without_all_its_fields_is_not_stored() -> None:
    async with bench(Steps) as b:
        reply = await b.create(Steps, "a")
        assert code(reply) == "method_failed"
        assert "low, high" in problem(reply).detail
        assert code(await b.read(Steps, "a")) == "object_not_found"
