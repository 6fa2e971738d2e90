"""Deadlines, cancellation by the caller, and bounds of queues: every wait ends with an error that names the reason."""

import asyncio
from typing import Any

import pytest

from goverse import Object, Unavailable, call
from goverse.errors import Timeout
from tests.loop_time import LoopTime
from tests.nodes import Meeting, bench, code, key_of, problem, settle, until, value

PLACE = Meeting()
LIMIT_S = 10.0  # longer than any test takes; it passes when a test advances the loop's time


class Worker(Object):
    value: int = 0

    @call
    async def work(self, name: str = "work") -> int:
        self.value += 1
        await PLACE.wait(name)
        return self.value

    @call(timeout_s=0.05)
    async def work_briefly(self) -> int:
        self.value += 1
        await PLACE.wait("briefly")
        return self.value

    @call
    async def ignore_cancellation(self) -> int:
        self.value += 1
        await PLACE.wait_stubbornly("stubborn")
        self.value += 1
        return self.value

    @call
    async def return_when_cancelled(self) -> int:
        self.value += 1
        try:
            await PLACE.wait("returning")
        except asyncio.CancelledError:
            return 99
        return self.value

    @call
    async def hand_on(self, target: str, method: str) -> Any:
        self.value += 1
        return await getattr(self.ref("Worker", target), method)()

    @call
    def block(self) -> int:
        PLACE.note("blocking")
        self.value += 1
        return self.value

    @call(readonly=True)
    async def look(self) -> int:
        return self.value

    @call(readonly=True)
    async def look_slowly(self) -> int:
        await PLACE.wait("looking")
        return self.value


@pytest.mark.requirement("GATE-6", "OBJ-9")
@pytest.mark.parametrize("method", ["work", "return_when_cancelled"])
async def test_a_turn_that_takes_too_long_is_cancelled_without_a_trace(
    method: str, meeting: Meeting, loop_time: LoopTime
) -> None:
    async with bench(Worker) as b:
        overdue = b.call(Worker, "a", method, timeout_s=LIMIT_S)
        await meeting.reached("work" if method == "work" else "returning")
        await loop_time.advance(LIMIT_S)
        reply = await overdue

        assert code(reply) == "timeout"
        assert problem(reply).retryable
        assert problem(reply).extra == {"operation": method, "object": "Worker/a"}
        assert value(await b.call(Worker, "a", "look")) == 0
        assert code(await b.read(Worker, "a")) == "object_not_found"
        assert b.node.stats.timeouts == {f"Worker.{method}": 1}


@pytest.mark.requirement("GATE-6")
async def test_a_method_may_have_a_limit_of_its_own(meeting: Meeting) -> None:
    async with bench(Worker) as b:
        assert code(await b.call(Worker, "a", "work_briefly")) == "timeout"


@pytest.mark.requirement("GATE-6")
async def test_a_call_that_waits_too_long_is_not_begun(meeting: Meeting) -> None:
    async with bench(Worker) as b:
        running = b.call(Worker, "a", "work")
        await meeting.reached("work")
        waiting = await b.call(Worker, "a", "work", {"name": "never"}, timeout_s=0.05)
        assert code(waiting) == "timeout"
        assert "did not start" in problem(waiting).detail
        assert code(await b.call(Worker, "b", "work", timeout_s=-1)) == "timeout"
        meeting.let_go("work")
        assert value(await running) == 1
        assert meeting.happened == ["work"]
        assert b.node.stats.timeouts == {"queue": 2}


@pytest.mark.requirement("GATE-6", "OBJ-9")
async def test_a_method_that_ignores_its_cancellation_holds_its_object_no_longer_than_the_grace(
    meeting: Meeting, loop_time: LoopTime, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Worker, cancel_grace_s=LIMIT_S) as b:
        stubborn = b.call(Worker, "a", "ignore_cancellation", timeout_s=LIMIT_S)
        await meeting.reached("stubborn")
        queued = b.call(Worker, "a", "look", timeout_s=10 * LIMIT_S)
        await loop_time.advance(LIMIT_S)
        assert code(await stubborn) == "timeout"
        assert not queued.done()
        await loop_time.advance(LIMIT_S)

        assert value(await queued) == 0
        assert b.node.stats.abandoned == 1
        meeting.let_go("stubborn")
        await settle()
        assert value(await b.call(Worker, "a", "look")) == 0
        assert code(await b.read(Worker, "a")) == "object_not_found"


@pytest.mark.requirement("GATE-6", "DUR-1")
async def test_an_object_that_is_given_up_first_commits_what_it_did(
    meeting: Meeting, loop_time: LoopTime, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Worker, cancel_grace_s=LIMIT_S) as b:
        b.store.hold()
        committed = b.call(Worker, "a", "block", timeout_s=10 * LIMIT_S)
        stubborn = b.call(Worker, "a", "ignore_cancellation", timeout_s=LIMIT_S)
        await meeting.reached("stubborn")
        queued = b.call(Worker, "a", "look", timeout_s=10 * LIMIT_S)
        await loop_time.advance(LIMIT_S)
        assert code(await stubborn) == "timeout"
        await loop_time.advance(LIMIT_S)
        await until(lambda: b.node.stats.abandoned == 1)
        assert not queued.done()
        assert not committed.done()
        b.store.release()
        assert value(await committed) == 1
        assert value(await queued) == 1
        meeting.let_go("stubborn")


@pytest.mark.requirement("GATE-6", "OBJ-9")
async def test_a_turn_that_is_cancelled_before_its_first_step_is_over_at_once(meeting: Meeting) -> None:
    async with bench(Worker) as b:
        await b.call(Worker, "a", "look")
        unbegun = b.call(Worker, "a", "work")
        activation = b.node.activations.get(key_of(Worker, "a"))
        assert activation is not None
        activation.reset(Unavailable("loaded again"))
        queued = b.call(Worker, "a", "look")

        assert code(await unbegun) == "unavailable"
        assert value(await queued) == 0
        await settle()
        assert b.at_rest
        assert meeting.happened == []
        assert b.node.stats.abandoned == 0


@pytest.mark.requirement("GATE-6", "OBJ-8")
async def test_the_deadline_goes_with_the_chain(meeting: Meeting, loop_time: LoopTime) -> None:
    async with bench(Worker) as b:
        overdue = b.call(Worker, "a", "hand_on", {"target": "b", "method": "work"}, timeout_s=LIMIT_S)
        await meeting.reached("work")
        await loop_time.advance(LIMIT_S)
        reply = await overdue
        assert code(reply) == "timeout"
        assert "Worker/a.hand_on" in problem(reply).detail
        await until(lambda: b.at_rest)
        assert value(await b.call(Worker, "a", "look")) == 0
        assert value(await b.call(Worker, "b", "look")) == 0


@pytest.mark.requirement("GATE-6", "OBJ-8")
async def test_a_nested_timeout_is_an_error_that_the_outer_caller_understands(meeting: Meeting) -> None:
    async with bench(Worker) as b:
        reply = await b.call(Worker, "a", "hand_on", {"target": "b", "method": "work_briefly"})
        assert code(reply) == "timeout"
        assert problem(reply).extra == {"operation": "work_briefly", "object": "Worker/b", "seconds": 0.05}
        assert value(await b.call(Worker, "a", "look")) == 0


@pytest.mark.requirement("GATE-6")
async def test_a_plain_function_ends_by_itself_and_its_effect_is_reported(
    meeting: Meeting, loop_time: LoopTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_long(what: str) -> None:
        loop_time.ahead_s += 2 * LIMIT_S

    monkeypatch.setattr(meeting, "note", take_long)
    async with bench(Worker) as b:
        assert value(await b.call(Worker, "a", "block", timeout_s=LIMIT_S)) == 1
        assert value(await b.call(Worker, "a", "look")) == 1


@pytest.mark.requirement("OBJ-2", "GATE-6")
async def test_a_caller_that_goes_away_takes_its_waiting_call_along_but_not_a_running_one(meeting: Meeting) -> None:
    async with bench(Worker) as b:
        running = b.call(Worker, "a", "work")
        waiting = b.call(Worker, "a", "work", {"name": "never"})
        last = b.call(Worker, "a", "look")
        await meeting.reached("work")
        running.cancel()
        waiting.cancel()
        meeting.let_go("work")

        assert value(await last) == 1
        assert meeting.happened == ["work"]


@pytest.mark.requirement("GATE-9")
async def test_a_mailbox_has_a_bound(meeting: Meeting) -> None:
    async with bench(Worker, mailbox_calls_max=2) as b:
        running = b.call(Worker, "a", "work")
        await meeting.reached("work")
        waiting = [b.call(Worker, "a", "look") for _ in range(2)]
        refused = await b.call(Worker, "a", "look", idempotency_key="k")
        assert code(refused) == "overloaded"
        assert problem(refused).retryable
        meeting.let_go("work")
        assert [value(await each) for each in (running, *waiting)] == [1, 1, 1]
        assert value(await b.call(Worker, "a", "look", idempotency_key="k")) == 1


@pytest.mark.requirement("GATE-9")
async def test_the_calls_in_a_node_have_a_bound(meeting: Meeting) -> None:
    async with bench(Worker, inflight_calls_max=3) as b:
        inside = [b.call(Worker, object_id, "work") for object_id in "abc"]
        refused = await b.call(Worker, "d", "look")
        assert code(refused) == "overloaded"
        await meeting.reached("work", 3)
        meeting.let_go("work")
        assert [value(await each) for each in inside] == [1, 1, 1]
        assert value(await b.call(Worker, "d", "look")) == 0


@pytest.mark.requirement("GATE-6", "OBJ-2")
async def test_readers_beside_one_that_is_given_up_may_try_again(
    meeting: Meeting, loop_time: LoopTime, caplog: pytest.LogCaptureFixture
) -> None:
    class Reader(Object):
        value: int = 0

        @call(readonly=True)
        async def stubborn(self) -> None:
            await PLACE.wait_stubbornly("stubborn")

        @call(readonly=True)
        async def patient(self) -> int:
            await PLACE.wait("patient")
            return self.value

    async with bench(Reader, cancel_grace_s=LIMIT_S) as b:
        stubborn = b.call(Reader, "a", "stubborn", timeout_s=LIMIT_S)
        patient = b.call(Reader, "a", "patient", timeout_s=10 * LIMIT_S)
        await meeting.reached("stubborn")
        await meeting.reached("patient")
        await loop_time.advance(LIMIT_S)
        assert code(await stubborn) == "timeout"
        await loop_time.advance(LIMIT_S)
        reply = await patient
        assert code(reply) == "unavailable"
        assert problem(reply).retryable
        meeting.let_go("stubborn")
        await settle()
        assert b.node.activations.get(key_of(Reader, "a")) is None


class Mirror(Object, reentrant=True):
    seen: int = 0

    @call
    async def start(self) -> float:
        try:
            await self.ref(Mirror, self.id).stuck()
        except Timeout as error:
            return float(error.extra["seconds"])
        return 0.0

    @call
    async def stuck(self) -> None:
        await PLACE.wait("stuck")


@pytest.mark.requirement("OBJ-9")
async def test_a_timeout_of_a_reentrant_call_names_the_limit_of_calls() -> None:
    async with bench(Mirror, call_timeout_s=0.1, hook_timeout_s=7.0) as b:
        assert value(await b.call(Mirror, "m", "start")) == 0.1


class Desk(Object):
    seen: int = 0

    @call
    async def hold(self) -> None:
        await PLACE.wait("hold")

    @call(readonly=True)
    async def look(self) -> None:
        await PLACE.wait("look")

    @call
    def add(self) -> int:
        self.seen += 1
        return self.seen


@pytest.mark.requirement("OBJ-9")
@pytest.mark.parametrize("gone_by", ["deadline", "client gone"])
async def test_only_waiting_calls_count_for_the_bound_of_a_mailbox(gone_by: str) -> None:
    async with bench(Desk, mailbox_calls_max=5) as b:
        holder = b.call(Desk, "d", "hold")
        await PLACE.reached("hold")
        gone = [b.call(Desk, "d", "add", timeout_s=0.01 if gone_by == "deadline" else 30.0) for _ in range(5)]
        if gone_by == "client gone":
            for one in gone:
                one.cancel()
        await until(lambda: b.node.stats.inflight == 1)
        assert not b.node.deadlines.waiting
        patient = [b.call(Desk, "d", "add") for _ in range(5)]
        assert code(await b.call(Desk, "d", "add")) == "overloaded"
        PLACE.let_go("hold")
        assert code(await holder) == ""
        assert [value(await one) for one in patient] == [1, 2, 3, 4, 5]


@pytest.mark.requirement("OBJ-9")
async def test_a_call_that_expires_lets_those_behind_it_start() -> None:
    async with bench(Desk) as b:
        first = b.call(Desk, "d", "look")
        await PLACE.reached("look")
        writer = b.call(Desk, "d", "add", timeout_s=0.01)
        second = b.call(Desk, "d", "look")
        assert code(await writer) == "timeout"
        await PLACE.reached("look", 2)
        PLACE.let_go("look")
        assert [code(await one) for one in (first, second)] == ["", ""]
