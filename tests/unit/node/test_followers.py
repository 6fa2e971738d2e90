"""Followers: calls with the idempotency key of a running call. Each of them waits until its own deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from goverse import BusinessError, Object, call
from goverse.errors import GoverseError, Timeout
from goverse.model.frames import Reply
from goverse_node.runtime.call import Call
from goverse_node.runtime.turn import Turn
from tests.nodes import Bench, Meeting, bench, code, key_of, problem, until, value

PLACE = Meeting()
LIMIT_S = 1.0


def _leader(b: Bench) -> Call:
    activation = b.node.activations.get(key_of(Till, "a"))
    assert activation is not None
    assert activation.leaders is not None
    return next(iter(activation.leaders.values()))


class Declined(BusinessError):
    """Declined."""

    code = "declined_in_followers"


class Till(Object, delete="anyone"):
    total: int = 0

    async def on_create(self) -> None:
        await self._at("create")

    async def on_activate(self) -> None:
        await self._at("activate")

    async def on_delete(self) -> None:
        await self._at("delete")

    async def _at(self, place: str) -> None:
        if self.id == f"slow to {place}":
            await PLACE.wait(place)

    @call
    async def add(self) -> int:
        await PLACE.wait("add")
        self.total += 1
        return self.total

    @call
    async def deadline(self) -> float:
        before = self.context.deadline
        await PLACE.wait("deadline")
        return self.context.deadline - before

    @call(timeout_s=LIMIT_S)
    async def limited(self) -> int:
        self.total += 1
        await PLACE.wait("limited")
        return self.total

    @call
    async def end_badly(self, how: str) -> None:
        await PLACE.wait("end")
        if how == "refuse":
            raise Declined
        raise ValueError

    @call
    async def nest(self) -> list[int]:
        self.total += 1
        return [await self.ref(Purse, "counted").take(), await self.ref(Purse, "slow").take_slowly(), self.total]

    @call
    async def nest_and_catch(self) -> str:
        try:
            await self.ref(Purse, "slow").take_slowly()
        except Timeout:
            return "caught"
        return "done"

    @call
    def plain(self) -> int:
        self.total += 1
        return self.total


class Purse(Object):
    taken: int = 0

    @call
    async def take(self) -> int:
        self.taken += 1
        return self.taken

    @call
    async def take_slowly(self) -> int:
        await PLACE.wait("take")
        self.taken += 1
        return self.taken


def _turns(b: Bench) -> list[Turn]:
    return list(b.node.deadlines.running)


def _expire(b: Bench) -> None:
    """Let the deadlines of the running turns and of their first callers pass, without waiting for them."""
    past = b.node.now() - 1.0
    for turn in _turns(b):
        turn.deadline = past
        if turn.call is not None:
            turn.call.request.deadline = past


async def _overtaken(
    b: Bench, place: str, begin: Callable[..., Awaitable[Reply]], meeting: Meeting, **further: Any
) -> list[Reply]:
    """Start a call with a short deadline, then two followers with later ones. Return all three replies."""
    hasty = asyncio.ensure_future(begin(timeout_s=10.0, idempotency_key="k", **further))
    await meeting.reached(place)
    patient = [asyncio.ensure_future(begin(timeout_s=t, idempotency_key="k", **further)) for t in (15.0, 20.0)]
    await until(lambda: any(len(turn.call.followers or ()) == 2 for turn in _turns(b) if turn.call is not None))
    _expire(b)
    first = await hasty
    assert not any(each.done() for each in patient)
    meeting.let_go(place)
    return [first, *[await each for each in patient]]


@pytest.mark.requirement("DUR-2", "GATE-6")
async def test_a_turn_goes_on_for_a_follower_that_may_wait_longer(meeting: Meeting) -> None:
    async with bench(Till) as b:
        hasty, *patient = await _overtaken(b, "add", lambda **how: b.call(Till, "t", "add", **how), meeting)
        assert (code(hasty), hasty.replayed) == ("timeout", False)
        assert [value(reply) for reply in patient] == [1, 1]
        assert sorted(reply.replayed for reply in patient) == [False, True]
        assert meeting.happened == ["add"]
        assert value(await b.call(Till, "t", "plain")) == 2
        assert (await b.call(Till, "t", "add", idempotency_key="k")).replayed


@pytest.mark.parametrize("place", ["create", "activate", "delete"])
@pytest.mark.requirement("DUR-2", "OBJ-4")
async def test_hooks_go_on_for_a_follower_that_may_wait_longer(place: str, meeting: Meeting) -> None:
    async with bench(Till) as b:
        target = f"slow to {place}"
        if place == "delete":
            assert code(await b.create(Till, target)) == ""
        begin = {
            "create": lambda **how: b.create(Till, target, **how),
            "activate": lambda **how: b.call(Till, target, "plain", **how),
            "delete": lambda **how: b.delete(Till, target, **how),
        }[place]
        hasty, *patient = await _overtaken(b, place, begin, meeting)
        assert code(hasty) == "timeout"
        assert [code(reply) for reply in patient] == ["", ""]
        assert meeting.happened == [place]


@pytest.mark.requirement("DUR-2", "GATE-6")
async def test_a_retry_that_comes_after_the_deadline_gets_no_old_timeout(meeting: Meeting) -> None:
    async with bench(Till) as b:
        hasty = b.call(Till, "t", "add", idempotency_key="k", timeout_s=10.0)
        await meeting.reached("add")
        [turn] = list(b.node.deadlines.running)
        turn.deadline = b.node.now() - 1.0  # passed, and the sweep has not run yet
        hasty.cancel()  # the gate has answered
        retry = b.call(Till, "t", "add", idempotency_key="k")
        await until(lambda: turn.deadline > b.node.now())
        assert not retry.done()
        meeting.let_go("add")
        assert (value(await retry), (await retry).replayed) == (1, False)
        assert value(await b.call(Till, "t", "plain")) == 2


@pytest.mark.requirement("DUR-2")
async def test_a_turn_sees_the_deadline_that_it_was_given_last(meeting: Meeting) -> None:
    async with bench(Till) as b:
        _, *patient = await _overtaken(b, "deadline", lambda **how: b.call(Till, "t", "deadline", **how), meeting)
        assert all(value(reply) > 5.0 for reply in patient)


@pytest.mark.requirement("GATE-6")
async def test_a_limit_of_the_method_holds_for_every_caller(meeting: Meeting) -> None:
    async with bench(Till) as b:
        hasty = b.call(Till, "t", "limited", idempotency_key="k", timeout_s=LIMIT_S / 2)
        await meeting.reached("limited")
        patient = b.call(Till, "t", "limited", idempotency_key="k")
        _expire(b)
        assert [code(await hasty), code(await patient)] == ["timeout", "timeout"]
        assert "seconds" not in problem(await hasty).extra
        assert problem(await patient).extra["seconds"] == LIMIT_S
        assert not (await patient).replayed
        assert value(await b.call(Till, "t", "plain")) == 1


@pytest.mark.parametrize(("how", "replayed"), [("refuse", True), ("fail", False)])
@pytest.mark.requirement("DUR-2")
async def test_only_what_is_kept_is_marked_as_replayed(how: str, replayed: bool, meeting: Meeting) -> None:
    async with bench(Till) as b:
        calls = [b.call(Till, "t", "end_badly", {"how": how}, idempotency_key="k") for _ in range(3)]
        await meeting.reached("end")
        meeting.let_go("end")
        assert {code(await each) for each in calls} == {"declined_in_followers" if how == "refuse" else "method_failed"}
        assert [(await each).replayed for each in calls] == [False, replayed, replayed]


@pytest.mark.requirement("DUR-2", "OBJ-8")
async def test_a_call_whose_nested_call_met_the_old_deadline_runs_again(meeting: Meeting) -> None:
    async with bench(Till, Purse) as b:
        hasty = b.call(Till, "t", "nest", idempotency_key="k", timeout_s=10.0)
        await meeting.reached("take")
        patient = [b.call(Till, "t", "nest", idempotency_key="k", timeout_s=t) for t in (15.0, 20.0)]
        _expire(b)
        assert code(await hasty) == "timeout"
        await until(lambda: meeting.happened == ["take", "take"])
        meeting.let_go("take")
        assert [value(await each) for each in patient] == [[1, 1, 1]] * 2
        assert value(await b.call(Purse, "counted", "take")) == 2
        assert value(await b.call(Till, "t", "plain")) == 2


@pytest.mark.requirement("DUR-2")
async def test_a_call_without_followers_does_not_run_again(meeting: Meeting) -> None:
    async with bench(Till, Purse) as b:
        lonely = b.call(Till, "t", "nest", idempotency_key="k", timeout_s=10.0)
        await meeting.reached("take")
        _expire(b)
        assert code(await lonely) == "timeout"
        await until(lambda: b.at_rest)
        assert meeting.happened == ["take"]


@pytest.mark.requirement("DUR-2")
async def test_a_storm_on_one_key_with_short_and_long_deadlines_has_one_effect(meeting: Meeting) -> None:
    async with bench(Till) as b:
        first = b.call(Till, "t", "add", idempotency_key="k", timeout_s=10.0)
        await meeting.reached("add")
        short = [b.call(Till, "t", "add", idempotency_key="k", timeout_s=0.1 * n) for n in (0.5, 1.0, 2.0, 3.0)]
        _expire(b)
        long = [b.call(Till, "t", "add", idempotency_key="k") for _ in range(20)]
        ended = [code(await each) for each in (first, *short)]
        assert set(ended) <= {"timeout", "idempotency_in_progress"}
        meeting.let_go("add")
        assert [value(await each) for each in long] == [1] * 20
        assert [each.result().replayed for each in long].count(False) == 1
        assert meeting.happened == ["add"]


async def test_followers_whose_callers_are_gone_keep_no_turn_alive(meeting: Meeting) -> None:
    async with bench(Till) as b:
        hasty = b.call(Till, "t", "add", idempotency_key="k", timeout_s=10.0)
        await meeting.reached("add")
        gone = b.call(Till, "t", "add", idempotency_key="k")
        gone.cancel()
        _expire(b)
        assert code(await hasty) == "timeout"
        await until(lambda: b.at_rest)
        with pytest.raises(asyncio.CancelledError):
            await gone


class Raising:
    """A waiter that raises when it receives its reply."""

    def done(self) -> bool:
        return False

    def set_result(self, _reply: Reply, /) -> None:
        raise GoverseError("this waiter is broken")


@pytest.mark.requirement("DUR-2")
async def test_a_waiter_that_raises_keeps_no_follower_from_its_reply(meeting: Meeting) -> None:
    from goverse.model.frames import Operation, Request
    from tests.nodes import key_of

    def request(number: int) -> Request:
        deadline = b.node.now() + 10.0
        return Request(Operation.CALL, key_of(Till, "t"), "add", b"", deadline, f"r{number}", idempotency_key="k")

    async with bench(Till) as b:
        b.node.carry(request(1), Raising())
        await meeting.reached("add")
        b.node.carry(request(2), Raising())
        patient = b.node.submit(request(3))
        meeting.let_go("add")
        assert value(await patient) == 1
        assert value(await b.call(Till, "t", "plain")) == 2


@pytest.mark.requirement("DUR-2", "OBJ-9")
async def test_a_leader_forgets_the_followers_that_were_refused() -> None:
    async with bench(Till) as b:
        first = b.call(Till, "a", "add", idempotency_key="k")
        await PLACE.reached("add")
        patient = b.call(Till, "a", "add", idempotency_key="k")
        retries = [b.call(Till, "a", "add", idempotency_key="k", timeout_s=0.01) for _ in range(20)]
        assert {code(await retry) for retry in retries} == {"idempotency_in_progress"}
        leader = _leader(b)
        assert leader.followers is not None
        assert [one.waiter for one in leader.followers] == [patient]
        PLACE.let_go("add")
        assert [value(await one) for one in (first, patient)] == [1, 1]
        assert leader.followers is None


@pytest.mark.requirement("DUR-2", "OBJ-9")
async def test_a_call_that_led_in_an_activation_that_is_gone_follows_with_its_followers() -> None:
    async with bench(Till) as b:
        b.store.deferring = True
        first = b.call(Till, "a", "add", idempotency_key="k")
        third = b.call(Till, "a", "add", idempotency_key="k")
        call, gone = _leader(b), b.node.activations.get(key_of(Till, "a"))
        assert gone is not None
        gone.reset(None)
        second = b.call(Till, "a", "add", idempotency_key="k")
        b.store.deferring = False
        b.store.answer()
        await PLACE.reached("add")
        call.request.deadline = b.node.now()
        assert code(await first) == "idempotency_in_progress"
        PLACE.let_go("add")
        assert [value(await one) for one in (second, third)] == [1, 1]


@pytest.mark.requirement("DUR-2", "OBJ-3")
@pytest.mark.parametrize(
    ("of_leader", "of_follower", "expected"),
    [(2, None, ""), (None, 2, "version_mismatch"), (2, 3, ""), (3, 2, "version_mismatch")],
)
async def test_a_follower_that_takes_the_place_of_a_late_caller_has_its_own_condition(
    of_leader: int | None, of_follower: int | None, expected: str
) -> None:
    async with bench(Till) as b:
        holder = b.call(Till, "a", "add")
        await PLACE.reached("add")
        PLACE.let_go("add")
        assert (await holder).version == 2
        holder = b.call(Till, "a", "add")
        await PLACE.reached("add")
        late = b.call(Till, "a", "deadline", idempotency_key="k", if_match=of_leader)
        follower = b.call(Till, "a", "deadline", idempotency_key="k", if_match=of_follower)
        _leader(b).request.deadline = b.node.now()  # the turn starts before the next sweep
        PLACE.let_go("add")
        assert code(await late) == "timeout"
        if not expected:
            await PLACE.reached("deadline")
            PLACE.let_go("deadline")
        assert code(await follower) == expected


@pytest.mark.requirement("DUR-2", "OBJ-3")
async def test_a_follower_that_takes_over_during_a_creation_has_its_own_condition() -> None:
    async with bench(Till) as b:
        late = b.call(Till, "slow to create", "add", idempotency_key="k")
        await PLACE.reached("create")
        follower = b.call(Till, "slow to create", "add", idempotency_key="k", if_match=7)
        activation = b.node.activations.get(key_of(Till, "slow to create"))
        assert activation is not None
        activation.running[0].deadline = b.node.now()
        assert code(await late) == "timeout"
        PLACE.let_go("create")
        assert code(await follower) == "version_mismatch"
