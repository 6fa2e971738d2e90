"""A reliable call takes effect once at its receiver, in order, together with its receipt."""

import asyncio
from asyncio import Future
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from goverse import BusinessError, Object, call, handler
from goverse.errors import Unavailable
from goverse.limits import DELIVERY_AGE_S_MAX, RECEIPTS_IN_MEMORY
from goverse.model.caller import identified
from goverse.model.effects import ANY_VERSION
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Delivery, Receipt
from goverse.objects.context import current_turn
from goverse_node.stores.memory import MemoryStore
from tests.gated_store import GatedStore
from tests.nodes import Bench, Meeting, bench, code, key_of, problem, until, value

PLACE = Meeting()
SENDER = ObjectKey("default", "Order", "o")


class Empty(BusinessError):
    """The account holds less than the amount."""

    code = "empty"


class Account(Object, delete="anyone"):
    cents: int = 0

    @call
    async def add(self, cents: int = 1) -> int:
        self.cents += cents
        return self.cents

    @call
    def take(self, cents: int) -> int:
        self.cents -= cents
        if self.cents < 0:
            raise Empty
        return self.cents

    @call
    def fail(self) -> None:
        self.cents = -1
        raise ValueError("the method fails")

    @call
    async def add_slowly(self, fail: bool = False) -> int:
        await PLACE.wait("adding")
        if fail:
            raise ValueError("the method fails")
        return await self.add()

    @call(readonly=True)
    def look(self) -> int:
        return self.cents

    @call(readonly=True)
    async def look_slowly(self) -> int:
        await PLACE.wait("looking")
        return self.cents

    @handler
    def credited(self) -> list[str]:
        caller, turn = self.context.caller, current_turn.get()
        assert turn is not None
        return [caller.kind, caller.subject, str(caller.object), str(self.context.chain)]

    @call
    async def pass_on(self, to: str, fail: bool) -> int:
        self.cents = await self.ref(Account, to).add()
        if fail:
            raise ValueError("the method fails")
        return self.cents


class Strict(Object, create="nobody", delete="anyone"):
    @call
    def take(self) -> None: ...


class Hooked(Object):
    count: int = 0

    def on_create(self, refuse: bool = False) -> None:
        PLACE.note("created")

    def on_activate(self) -> None:
        PLACE.note("activated")

    @call
    def add(self) -> int:
        self.count += 1
        return self.count


class Refusing(Object):
    def on_create(self) -> None:
        raise Empty

    @call
    def add(self) -> None: ...


class Receiving(Bench):
    """A bench with short forms for deliveries."""

    def deliver(
        self,
        number: int,
        method: str = "add",
        arguments: dict[str, Any] | None = None,
        *,
        prev: int = 0,
        head: int = 0,
        void: bool = False,
        to: tuple[type[Any], str] = (Account, "a"),
        sender: ObjectKey = SENDER,
        age_s: float = 0,
        timeout_s: float = 30.0,
        **further: Any,
    ) -> Future[Reply]:
        sent_ms = round(self.node.clock.wall_ms() - age_s * 1000)
        delivery = Delivery(sender, number, prev, head or prev or number, 1, void, f"c_{number}", sent_ms)
        body = orjson.dumps(arguments) if arguments else b""
        deadline = self.node.now() + timeout_s
        request = Request(
            Operation.CALL, key_of(*to), method, body, deadline, f"r{number}", delivery=delivery, **further
        )
        return self.node.submit(request)

    def receipt(self, of: tuple[type[Any], str] = (Account, "a"), sender: ObjectKey = SENDER) -> Receipt:
        assert isinstance(self.store.inner, MemoryStore)
        return self.store.inner.receipt(key_of(*of), sender)


@asynccontextmanager
async def receiving(*classes: type[Any], **options: Any) -> AsyncGenerator[Receiving]:
    async with bench(Account, Strict, Hooked, Refusing, *classes, **options) as b:
        b.__class__ = Receiving
        assert isinstance(b, Receiving)
        yield b


def settled(reply: Reply) -> Any:
    """Return the result of a reply that says that the call is settled."""
    assert reply.settled, reply.problem
    return value(reply)


@pytest.mark.requirement("DUR-3")
async def test_the_effect_and_the_receipt_of_a_call_are_one_commit() -> None:
    async with receiving() as b:
        reply = await b.deliver(5)
        assert (settled(reply), reply.version, reply.commit_seq) == (1, 1, b.store.seq)
        [(_, record)] = b.store.durable
        assert record.effects is not None
        assert record.effects.settles is not None
        assert (record.expected, record.version, record.effects.settles.delivery.number) == (0, 1, 5)
        assert b.receipt().last == 5


@pytest.mark.requirement("DUR-3")
@pytest.mark.parametrize("passivated", [False, True])
async def test_a_repetition_gets_the_kept_outcome_and_has_no_effect(passivated: bool) -> None:
    async with receiving() as b:
        first = [await b.deliver(5), await b.deliver(6, prev=5, method="take", arguments={"cents": 7})]
        if passivated:
            await b.passivate()
        again = [await b.deliver(5), await b.deliver(6, prev=5, method="take", arguments={"cents": 7})]
        for one, other in zip(first, again, strict=True):
            assert (one.settled, other.settled) == (True, True)
            assert (one.body, one.problem, one.version) == (other.body, other.problem, other.version)
        assert code(again[1]) == "empty"
        assert value(await b.call(Account, "a", "look")) == 1
        assert b.node.stats.repeated_deliveries == 2


@pytest.mark.requirement("DUR-3")
async def test_the_answer_to_a_repetition_waits_until_the_settlement_is_durable() -> None:
    async with receiving() as b:
        b.store.hold()
        first = b.deliver(5)
        await until(lambda: b.store.arrived == 1)
        again = b.deliver(5)
        await asyncio.sleep(0)
        assert not again.done()
        b.store.fail(Unavailable("the disk is full"))
        b.store.release()
        assert [(code(each), each.settled) for each in (await first, await again)] == [("unavailable", False)] * 2
        assert b.receipt().last == 0
        assert settled(await b.deliver(5)) == 1


@pytest.mark.requirement("DUR-3")
async def test_deliveries_of_a_pair_that_arrive_together_run_in_order() -> None:
    async with receiving() as b:
        replies = [b.deliver(number, prev=number - 1 if number > 1 else 0, head=1) for number in range(1, 17)]
        assert [settled(await each) for each in replies] == list(range(1, 17))
        assert b.receipt().last == 16


@pytest.mark.requirement("DUR-3")
async def test_deliveries_behind_one_that_fails_are_refused(meeting: Meeting) -> None:
    async with receiving() as b:
        first = b.deliver(1, "add_slowly", {"fail": True})
        behind = [b.deliver(2, prev=1, head=1), b.deliver(3, prev=2, head=1)]
        await meeting.reached("adding")
        meeting.let_go("adding")
        replies = [await first, *[await each for each in behind]]
        assert [code(each) for each in replies] == ["method_failed", "out_of_order", "out_of_order"]
        assert not any(each.settled for each in replies)
        assert problem(replies[1]).retryable
        assert b.store.durable == []


@pytest.mark.requirement("DUR-3")
async def test_deliveries_behind_a_failed_commit_are_not_settled() -> None:
    async with receiving() as b:
        b.store.fail(Unavailable("the disk is full"))
        replies = [b.deliver(1), b.deliver(2, prev=1, head=1), b.deliver(3, prev=2, head=1)]
        assert not any([(await each).settled for each in replies])
        assert b.receipt().last == 0
        assert [settled(await b.deliver(n, prev=n - 1, head=1)) for n in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.requirement("DUR-3")
async def test_a_delivery_without_its_predecessor_is_refused() -> None:
    async with receiving() as b:
        assert code(await b.deliver(9, prev=5)) == "out_of_order"
        assert settled(await b.deliver(5)) == 1
        assert settled(await b.deliver(9, prev=5)) == 2


@pytest.mark.requirement("DUR-3")
async def test_a_repetition_of_a_running_delivery_waits_for_it(meeting: Meeting) -> None:
    async with receiving() as b:
        replies = [b.deliver(1, "add_slowly") for _ in range(3)]
        void = b.deliver(1, void=True)
        await meeting.reached("adding")
        assert not any(each.done() for each in replies)
        meeting.let_go("adding")
        assert [settled(await each) for each in (*replies, void)] == [1] * 4
        assert meeting.happened == ["adding"]


@pytest.mark.requirement("DUR-3")
async def test_a_business_error_is_an_outcome_without_a_change() -> None:
    async with receiving() as b:
        assert settled(await b.deliver(1)) == 1
        refused = await b.deliver(2, "take", {"cents": 5}, prev=1)
        assert (code(refused), refused.settled) == ("empty", True)
        _, record = b.store.durable[-1]
        assert (record.expected, record.version) == (1, 1)
        assert b.receipt().last == 2
        assert value(await b.call(Account, "a", "look")) == 1


@pytest.mark.requirement("DUR-3")
@pytest.mark.parametrize(
    ("method", "arguments", "expected"),
    [
        ("fail", None, "method_failed"),
        ("take", None, "invalid_arguments"),
        ("spend", None, "unknown_method"),
    ],
)
async def test_any_other_error_settles_nothing(method: str, arguments: Any, expected: str) -> None:
    async with receiving() as b:
        refused = await b.deliver(1, method, arguments)
        assert (code(refused), refused.settled, b.store.durable) == (expected, False, [])
        unknown = Delivery(SENDER, 1, 0, 1, sent_ms=b.node.clock.wall_ms())
        request = Request(Operation.CALL, key_of("Unknown", "u"), "add", b"", b.node.now() + 30, "r", delivery=unknown)
        assert code(await b.node.submit(request)) == "unknown_type"
        assert settled(await b.deliver(1)) == 1


async def test_a_delivery_that_misses_its_deadline_is_not_settled(meeting: Meeting) -> None:
    async with receiving() as b:
        late = await b.deliver(1, "add_slowly", timeout_s=0.05)
        assert (code(late), late.settled, b.store.durable) == ("timeout", False, [])
        assert settled(await b.deliver(1)) == 1


@pytest.mark.requirement("DUR-3")
async def test_a_readonly_method_is_settled_without_a_change(meeting: Meeting) -> None:
    async with receiving() as b:
        replies = [b.deliver(1, "look_slowly"), b.deliver(2, "look", prev=1, head=1)]
        await meeting.reached("looking")
        meeting.let_go("looking")
        assert [settled(await each) for each in replies] == [0, 0]
        assert [record.version for _, record in b.store.durable] == [0, 0]
        assert b.receipt().last == 2
        assert code(await b.read(Account, "a")) == "object_not_found"


async def test_a_handler_runs_for_a_delivery_and_sees_the_sender() -> None:
    async with receiving() as b:
        seen = settled(await b.deliver(1, "credited", caller=identified("ann")))
        assert seen == ["object", "ann", str(SENDER), "()"]
        assert code(await b.call(Account, "a", "credited")) == "access_denied"


@pytest.mark.requirement("DUR-3")
async def test_a_void_delivery_is_settled_without_running_or_creating_anything(meeting: Meeting) -> None:
    async with receiving() as b:
        to = (Hooked, "h")
        void = await b.deliver(1, "no_such_method", void=True, to=to)
        assert (code(void), void.settled, meeting.happened) == ("call_void", True, [])
        [(_, record)] = b.store.durable
        assert (record.expected, record.version, record.state) == (ANY_VERSION, ANY_VERSION, None)
        assert code(await b.read(Hooked, "h")) == "object_not_found"
        again = await b.deliver(1, to=to)
        assert (code(again), again.settled) == ("call_void", True)
        assert settled(await b.deliver(2, prev=1, to=to)) == 1
        assert meeting.happened == ["created", "activated"]


@pytest.mark.requirement("DUR-3")
async def test_a_void_delivery_of_a_settled_call_gets_its_outcome() -> None:
    async with receiving() as b:
        assert settled(await b.deliver(1)) == 1
        assert settled(await b.deliver(1, void=True)) == 1


async def test_an_outcome_that_the_sender_has_committed_is_forgotten() -> None:
    async with receiving() as b:
        assert settled(await b.deliver(1)) == 1
        assert settled(await b.deliver(2, head=2)) == 2
        late = await b.deliver(1)
        assert (code(late), late.settled) == ("call_forgotten", True)
        assert value(await b.call(Account, "a", "look")) == 2


async def test_a_call_to_a_missing_object_is_as_a_call_by_an_object() -> None:
    async with receiving() as b:
        missing = await b.deliver(1, "take", to=(Strict, "s"))
        assert (code(missing), missing.settled) == ("object_not_found", False)
        refused = await b.deliver(1, to=(Refusing, "r"))
        assert (code(refused), refused.settled, b.receipt((Refusing, "r")).last) == ("empty", True, 1)


@pytest.mark.requirement("DUR-3")
async def test_receipts_outlive_the_deletion_of_the_receiver() -> None:
    async with receiving() as b:
        assert settled(await b.deliver(1)) == 1
        assert code(await b.delete(Account, "a")) == ""
        assert settled(await b.deliver(1)) == 1
        await b.passivate()
        assert settled(await b.deliver(1)) == 1
        assert settled(await b.deliver(2, prev=1)) == 1


@pytest.mark.requirement("DUR-3")
async def test_receipts_that_the_store_answers_late_keep_the_order() -> None:
    async with receiving() as b:
        b.store.deferring = True
        replies = [b.deliver(n, prev=n - 1, head=1) for n in (1, 2, 3)]
        other = b.deliver(7, sender=SENDER._replace(id="another"))
        assert [settled(await b.finish(each)) for each in replies] == [1, 2, 3]
        assert settled(await b.finish(other)) in (1, 2, 3, 4)


async def test_a_receipt_that_cannot_be_read_refuses_the_delivery() -> None:
    class Failing(GatedStore):
        def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Receipt:
            raise Unavailable("the database is down")

    async with receiving(store=Failing()) as b:
        refused = await b.deliver(1)
        assert (code(refused), refused.settled) == ("unavailable", False)


async def test_receipts_of_many_senders_are_read_again() -> None:
    async with receiving() as b:
        senders = [SENDER._replace(id=f"o{n}") for n in range(RECEIPTS_IN_MEMORY + 5)]
        for sender in senders:
            await b.deliver(1, sender=sender)
        for sender in senders:
            assert (await b.deliver(1, sender=sender)).settled
            assert (await b.deliver(2, prev=1, sender=sender)).settled
        assert value(await b.call(Account, "a", "look")) == 2 * len(senders)


async def test_a_delivery_that_was_on_its_way_for_too_long_is_refused() -> None:
    async with receiving() as b:
        old = problem(await b.deliver(1, age_s=DELIVERY_AGE_S_MAX + 1))
        assert (old.code, "compare the clocks" in old.detail) == ("out_of_order", True)
        assert settled(await b.deliver(1, age_s=DELIVERY_AGE_S_MAX - 60)) == 1


@pytest.mark.requirement("DUR-3")
async def test_a_settlement_that_the_store_refuses_is_not_answered_as_settled() -> None:
    async with receiving() as b:
        assert settled(await b.deliver(1)) == 1
        b.store.refuse(lambda record: record.effects is not None)
        assert code(await b.deliver(2, prev=1)) == "unavailable"
        assert not b.resident(Account, "a")
        assert settled(await b.deliver(2, prev=1)) == 2


@pytest.mark.requirement("DUR-3")
async def test_a_nested_call_of_a_repeated_delivery_has_one_effect() -> None:
    async with receiving() as b:
        assert code(await b.deliver(1, "pass_on", {"to": "b", "fail": True})) == "method_failed"
        await b.passivate()
        assert settled(await b.deliver(1, "pass_on", {"to": "b", "fail": False}, head=1)) == 1
        assert value(await b.call(Account, "b", "look")) == 1
        assert settled(await b.deliver(2, "pass_on", {"to": "b", "fail": False}, prev=1)) == 2


async def test_a_delivery_keeps_no_reply_under_a_key() -> None:
    async with receiving() as b:
        assert settled(await b.deliver(1, idempotency_key="k")) == 1
        [(_, record)] = b.store.durable
        assert (record.idempotency_key, record.reply) == (None, None)
