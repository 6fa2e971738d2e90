"""Calls with the same idempotency key run once and get the same bytes, for as long as the key is kept."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from goverse import BusinessError, Object, call
from goverse.errors import StoreFailed, Unavailable
from goverse.limits import IDEMPOTENCY_RETENTION_S
from goverse.model.caller import identified
from goverse.model.frames import Reply
from goverse.ports.clock import ManualClock
from goverse_node.stores.memory import MemoryStore
from tests.gated_store import GatedStore
from tests.nodes import Bench, Meeting, bench, code, problem, until, value

PLACE = Meeting()
ALICE, BOB = identified("alice"), identified("bob")
MOOD: dict[str, bool] = {}


class Declined(BusinessError):
    """The bank says no."""

    status = 402
    code = "declined"


class Account(Object, delete="anyone"):
    balance: int = 0
    tries: int = 0

    @call
    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    @call
    async def deposit_slowly(self, amount: int) -> int:
        await PLACE.wait("slowly")
        self.balance += amount
        return self.balance

    @call
    async def decline(self, reason: str) -> None:
        self.tries += 1
        raise Declined(f"because {reason}", reason=reason)

    @call
    async def fail(self) -> int:
        self.balance += 1
        if MOOD.get("fail"):
            raise ValueError
        return self.balance

    @call(readonly=True)
    async def look(self) -> int:
        return self.balance

    @call
    async def spread(self, targets: list[str]) -> list[int]:
        answers = [await self.ref("Account", target).deposit(amount=1) for target in targets]
        if MOOD.get("fail"):
            raise ValueError
        self.balance += 1
        return answers


@pytest.fixture(autouse=True)
def fresh_mood() -> None:
    MOOD.clear()


async def _nothing(b: Bench) -> None:
    assert b.at_rest


async def _passivate(b: Bench) -> None:
    await b.passivate()
    assert len(b.node.activations) == 0


async def _restart(b: Bench) -> None:
    await b.restart()


Meanwhile = Callable[[Bench], Awaitable[None]]
MEANWHILE = {"at once": _nothing, "after passivation": _passivate, "after a restart": _restart}


def _same(one: Reply, other: Reply) -> bool:
    return (one.body, one.version, one.commit_seq, one.created, one.problem) == (
        other.body,
        other.version,
        other.commit_seq,
        other.created,
        other.problem,
    )


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("deferring", [False, True])
@pytest.mark.parametrize("meanwhile", MEANWHILE)
async def test_a_repeated_call_is_answered_with_the_same_bytes(meanwhile: str, deferring: bool) -> None:
    async with bench(Account) as b:
        first = await b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        declined = await b.call(Account, "a", "decline", {"reason": "x"}, idempotency_key="d", request_id="original")
        await b.call(Account, "a", "deposit", {"amount": 1})
        await MEANWHILE[meanwhile](b)
        b.store.deferring = deferring

        again = b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        declined_again = b.call(Account, "a", "decline", {"reason": "x"}, idempotency_key="d")
        await b.finish(declined_again)
        b.store.deferring = False
        b.store.answer()

        assert _same(first, await again)
        assert _same(declined, await declined_again)
        assert problem(await declined_again).request_id == "original"
        assert [(await each).replayed for each in (again, declined_again)] == [True] * 2
        assert not first.replayed
        assert value(await b.call(Account, "a", "look")) == 6
        assert b.node.stats.replays == 2


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("meanwhile", MEANWHILE)
async def test_another_method_or_body_under_the_same_key_is_refused(meanwhile: str) -> None:
    async with bench(Account) as b:
        await b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        await MEANWHILE[meanwhile](b)

        other_body = await b.call(Account, "a", "deposit", {"amount": 6}, idempotency_key="k")
        other_method = await b.call(Account, "a", "deposit_slowly", {"amount": 5}, idempotency_key="k")
        other_operation = await b.create(Account, "a", idempotency_key="k")
        other_object = await b.call(Account, "b", "deposit", {"amount": 6}, idempotency_key="k")

        mismatches = [code(each) for each in (other_body, other_method, other_operation)]
        assert mismatches == ["idempotency_key_mismatch"] * 3
        assert value(other_object) == 6
        assert value(await b.call(Account, "a", "look")) == 5


@pytest.mark.requirement("DUR-2")
async def test_equal_calls_at_the_same_time_are_executed_once(meeting: Meeting) -> None:
    async with bench(Account) as b:
        calls = [b.call(Account, "a", "deposit_slowly", {"amount": 5}, idempotency_key="k") for _ in range(10)]
        other = await b.call(Account, "a", "deposit_slowly", {"amount": 6}, idempotency_key="k")
        await meeting.reached("slowly")
        meeting.let_go("slowly")

        replies = [await each for each in calls]
        assert code(other) == "idempotency_key_mismatch"
        assert [value(reply) for reply in replies] == [5] * 10
        assert all(_same(reply, replies[0]) for reply in replies)
        assert [reply.replayed for reply in replies] == [False] + [True] * 9
        assert meeting.happened == ["slowly"]
        assert b.node.stats.deduplicated == 9


@pytest.mark.requirement("DUR-2", "GATE-6")
async def test_an_equal_call_waits_no_longer_than_its_own_deadline(meeting: Meeting) -> None:
    async with bench(Account) as b:
        leader = b.call(Account, "a", "deposit_slowly", {"amount": 5}, idempotency_key="k")
        hasty = await b.call(Account, "a", "deposit_slowly", {"amount": 5}, idempotency_key="k", timeout_s=0.05)

        assert code(hasty) == "idempotency_in_progress"
        assert problem(hasty).retryable
        assert "retry_after_s" in problem(hasty).extra
        await meeting.reached("slowly")
        meeting.let_go("slowly")
        assert value(await leader) == 5


@pytest.mark.requirement("DUR-2", "GATE-6")
async def test_a_call_whose_first_caller_waited_long_enough_is_executed_for_the_next(meeting: Meeting) -> None:
    async with bench(Account) as b:
        busy = b.call(Account, "a", "deposit_slowly", {"amount": 100})
        await meeting.reached("slowly")
        first = b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k", timeout_s=0.05)
        gone = b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        patient = b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        last = b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        gone.cancel()
        assert code(await first) == "timeout"
        assert not patient.done()
        meeting.let_go("slowly")
        assert [value(await call) for call in (busy, patient, last)] == [100, 105, 105]
        assert sorted([(await patient).replayed, (await last).replayed]) == [False, True]


@pytest.mark.requirement("DUR-2")
async def test_a_call_whose_first_caller_went_away_is_executed_for_the_next(meeting: Meeting) -> None:
    async with bench(Account) as b:
        blocking = b.call(Account, "a", "deposit_slowly", {"amount": 1})
        await meeting.reached("slowly")
        gone = b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        stays = b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        gone.cancel()
        meeting.let_go("slowly")

        assert value(await stays) == 6
        assert value(await blocking) == 1


@pytest.mark.requirement("DUR-2")
async def test_what_failed_by_accident_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Account) as b:
        MOOD["fail"] = True
        assert code(await b.call(Account, "a", "fail", idempotency_key="k")) == "method_failed"
        MOOD.clear()
        again = await b.call(Account, "a", "fail", idempotency_key="k")
        assert (value(again), again.replayed) == (1, False)
        invalid = await b.call(Account, "a", "deposit", {"amount": "x"}, idempotency_key="i")
        assert code(invalid) == "invalid_arguments"
        assert value(await b.call(Account, "a", "deposit", {"amount": 1}, idempotency_key="i")) == 2


@pytest.mark.requirement("DUR-2")
async def test_create_and_delete_have_keys_as_well() -> None:
    async with bench(Account) as b:
        created = await b.create(Account, "a", idempotency_key="c", if_match=0)
        again = await b.create(Account, "a", idempotency_key="c", if_match=0)
        assert again.created
        assert _same(created, again)
        deleted = await b.delete(Account, "a", idempotency_key="d")
        await b.passivate()
        assert _same(deleted, await b.delete(Account, "a", idempotency_key="d"))
        assert code(await b.read(Account, "a")) == "object_not_found"
        assert _same(created, await b.create(Account, "a", idempotency_key="c", if_match=0))
        assert code(await b.read(Account, "a")) == "object_not_found"


@pytest.mark.requirement("DUR-2", "OBJ-8")
@pytest.mark.parametrize("meanwhile", MEANWHILE)
async def test_a_repeated_turn_repeats_no_effect_on_other_objects(
    meanwhile: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Account) as b:
        MOOD["fail"] = True
        failed = await b.call(Account, "a", "spread", {"targets": ["b", "c", "b"]}, idempotency_key="k")
        assert code(failed) == "method_failed"
        MOOD.clear()
        await MEANWHILE[meanwhile](b)

        done = await b.call(Account, "a", "spread", {"targets": ["b", "c", "b"]}, idempotency_key="k")
        again = await b.call(Account, "a", "spread", {"targets": ["b", "c", "b"]}, idempotency_key="k")
        other = await b.call(Account, "a", "spread", {"targets": ["b"]}, idempotency_key="another")
        plain = await b.call(Account, "a", "spread", {"targets": ["b"]})

        assert value(done) == value(again) == [1, 1, 2]
        assert (value(other), value(plain)) == ([3], [4])
        assert value(await b.call(Account, "a", "look")) == 3


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("error", [Unavailable("the disk is full"), StoreFailed("the sync failed"), OSError("lost")])
async def test_a_key_whose_commit_failed_is_free_again(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async with bench(Account) as b:
        b.store.fail(error)
        failed = await b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        assert code(failed) == "unavailable"
        assert problem(failed).retryable
        again = await b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        assert (value(again), again.replayed, again.version) == (5, False, 1)


@pytest.mark.requirement("DUR-2", "DUR-1")
async def test_a_repeated_call_does_not_overtake_the_commit_of_the_first() -> None:
    async with bench(Account) as b:
        b.store.hold()
        first = b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        await until(lambda: b.store.arrived == 1)
        second = b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        await asyncio.sleep(0.01)
        assert not first.done()
        assert not second.done()
        b.store.release()
        assert _same(await first, await second)
        assert value(await b.call(Account, "a", "look")) == 5


@pytest.mark.requirement("DUR-2")
async def test_a_key_is_kept_for_its_time() -> None:
    clock = ManualClock()
    store = GatedStore(MemoryStore(clock=clock))
    async with bench(Account, store=store, clock=clock) as b:
        await b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        clock.advance(IDEMPOTENCY_RETENTION_S - 1)
        assert (await b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")).replayed
        clock.advance(2)
        assert value(await b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")) == 10


@pytest.mark.requirement("DUR-2", "GATE-6")
async def test_a_store_that_does_not_answer_holds_no_caller_past_the_deadline() -> None:
    async with bench(Account) as b:
        b.store.deferring = True
        arguments: dict[str, Any] = {"amount": 5}
        asked = b.call(Account, "a", "deposit", arguments, idempotency_key="k", timeout_s=0.05)
        read = b.read(Account, "a", timeout_s=0.05)
        gone = b.call(Account, "b", "deposit", arguments, idempotency_key="k")
        gone.cancel()
        assert code(await asked) == "timeout"
        assert code(await read) == "timeout"
        b.store.deferring = False
        b.store.answer()
        await until(lambda: b.at_rest)
        assert value(await b.call(Account, "a", "deposit", arguments, idempotency_key="k")) == 5
        assert code(await b.read(Account, "b")) == "object_not_found"


@pytest.mark.requirement("DUR-2", "OBJ-9")
@pytest.mark.parametrize("question", ["recall", "load"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_store_that_cannot_answer_refuses_and_is_asked_again(
    question: str, late: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise OSError("unreadable")

    async with bench(Account) as b:
        b.store.deferring = late
        with monkeypatch.context() as patch:
            patch.setattr(b.store.inner, question, broken)
            asked = await b.finish(b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k"))
            read = await b.finish(b.read(Account, "a"))
        again = await b.finish(b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k"))

        assert code(asked) == "unavailable"
        assert code(read) == ("unavailable" if question == "load" else "object_not_found")
        assert value(again) == 5


@pytest.mark.requirement("DUR-2")
async def test_records_carry_the_key_with_the_effect() -> None:
    async with bench(Account) as b:
        await b.call(Account, "a", "deposit", {"amount": 5}, idempotency_key="k")
        await b.call(Account, "a", "deposit", {"amount": 6})
        ((_, keyed), (_, plain)) = b.store.durable
        assert keyed.changes_object
        assert (keyed.idempotency_key, keyed.reply is not None) == ("k", True)
        assert (plain.idempotency_key, plain.reply) == (None, None)
        assert keyed.state is not None
        assert orjson.loads(keyed.state)["balance"] == 5


@pytest.mark.requirement("DUR-2")
async def test_callers_with_different_subjects_do_not_share_a_key() -> None:
    async with bench(Account) as one:
        first = await one.call(Account, "a", "deposit", {"amount": 1}, idempotency_key="k", caller=ALICE)
        second = await one.call(Account, "a", "deposit", {"amount": 20}, idempotency_key="k", caller=BOB)
        anonymous = await one.call(Account, "a", "deposit", {"amount": 300}, idempotency_key="k")
        assert [value(first), value(second), value(anonymous)] == [1, 21, 321]

        await one.restart()
        again = await one.call(Account, "a", "deposit", {"amount": 20}, idempotency_key="k", caller=BOB)
        assert (value(again), again.replayed) == (21, True)
        other = await one.call(Account, "a", "deposit", {"amount": 20}, idempotency_key="k", caller=ALICE)
        assert code(other) == "idempotency_key_mismatch"


async def test_callers_with_different_subjects_do_not_follow_each_other() -> None:
    async with bench(Account) as one:
        calls = [
            one.call(Account, "a", "deposit_slowly", {"amount": amount}, idempotency_key="k", caller=caller)
            for caller, amount in ((ALICE, 1), (BOB, 2), (BOB, 2))
        ]
        await PLACE.reached("slowly")
        PLACE.let_go("slowly")
        await PLACE.reached("slowly")
        PLACE.let_go("slowly")
        assert [value(await each) for each in calls] == [1, 3, 3]
