# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Reliable calls as a class writes them: `send`, `sending`, `cancel`, `outbox`. Wrong uses fail types and run alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, assert_type

import pytest
from pydantic import BaseModel

from goverse import GoverseError, InvalidArguments, Object, ObjectKey, OutboxCall, Outcome, Sent, call, handler
from goverse.errors import CallIdMismatch
from goverse.model.effects import SentCall
from tests.unit.objects.turn_twin import NOW_MS, turn_of

pytestmark = pytest.mark.requirement("DUR-3")

Value = TypeVar("Value")
WEEK_MS = 7 * 86_400_000


class Charge(BaseModel):
    cents: int


class Shelf(Object, Generic[Value], abstract=True):
    """A generic base with a method that subclasses inherit."""

    @handler
    async def put(self, value: Value, *, note: str = "") -> Value:
        return value

    @call
    async def rename(self, to: str) -> str:
        return to


class Texts(Shelf[str]):
    @call
    async def rename(self, to: str, *, loud: bool = False) -> str:
        return to.upper() if loud else to


class Bank(Object):
    @call
    async def charge(self, cents: int) -> Charge:
        return Charge(cents=cents)

    @handler
    async def refund(self, cents: int) -> None: ...

    async def on_create(self, name: str = "") -> None: ...


class Order(Object):
    state: str = "open"

    @handler
    async def paid(self, outcome: Outcome[Charge]) -> None: ...

    @handler
    async def any_end(self, outcome: Outcome[Any]) -> None: ...

    @handler
    async def counted(self, outcome: Outcome[int]) -> None: ...

    @handler(readonly=True)
    async def reads(self, outcome: Outcome[Charge]) -> None: ...

    @call
    async def pay(self, cents: int) -> None: ...

    async def private(self, cents: int) -> None: ...

    async def on_activate(self) -> None: ...


class Rush(Order):
    @call
    async def pay(self, cents: int) -> None: ...

    @handler
    async def paid(self, outcome: Outcome[Charge]) -> None: ...


# --- what can be sent -------------------------------------------------------------------------------------------------


def test_a_method_of_a_reference_is_sent_with_the_arguments_of_a_call() -> None:
    with turn_of(Order) as (order, turn):
        sent = assert_type(order.send(order.ref(Bank, "b").charge, cents=300), Sent[Charge])
        assert_type(order.send(order.ref(Bank, "b").refund, 7), Sent[None])

        assert sent == Sent("c_1", ObjectKey("default", "Bank", "b"), "charge")
        assert [(each.method, each.body) for each in turn.sent] == [
            ("charge", b'{"cents":300}'),
            ("refund", b'{"cents":7}'),
        ]
        assert turn.sent[0] == SentCall(
            "c_1", sent.receiver, "charge", b'{"cents":300}', expires_ms=NOW_MS + WEEK_MS, sent_ms=NOW_MS
        )


def test_methods_of_generic_bases_and_overridden_methods_are_those_of_the_receiver() -> None:
    with turn_of(Order) as (order, turn):
        shelf = order.ref(Texts, "t")
        assert_type(order.send(shelf.put, "x", note="n"), Sent[str])
        order.send(shelf.rename, "y", loud=True)
        with pytest.raises(InvalidArguments):
            order.send(shelf.put, 1)  # type: ignore[arg-type]

        assert [each.body for each in turn.sent] == [b'{"value":"x","note":"n"}', b'{"to":"y","loud":true}']


def test_a_reference_by_name_sends_keywords() -> None:
    with turn_of(Order) as (order, turn):
        order.send(order.ref("Bank", "b").charge, cents=300)
        assert [(each.receiver.type, each.method, each.body) for each in turn.sent] == [
            ("Bank", "charge", b'{"cents":300}')
        ]
        with pytest.raises(TypeError, match=r"Bank\.charge is called by name, so its arguments must be keywords"):
            order.send(order.ref("Bank", "b").charge, 300)
        with pytest.raises(InvalidArguments, match=r"Bank.charge have no JSON form"):
            order.send(order.ref("Bank", "b").charge, cents=object())
        with pytest.raises(TypeError, match=r"Bank\.on_create is a hook"):
            order.send(order.ref("Bank", "b").on_create)


@pytest.mark.parametrize("cls", [Order, Rush])
def test_a_method_of_the_object_itself_becomes_a_later_turn_of_its_own(cls: type[Order]) -> None:
    with turn_of(cls) as (order, turn):
        assert_type(order.send(order.pay, cents=1), Sent[None])
        assert (turn.sent[0].receiver, turn.sent[0].method) == (order.key, "pay")


class Debit(Rush):
    @call
    async def pay(self, cents: int) -> None: ...

    def by_base(self) -> None:
        self.send(super().pay, cents=1)


def _wrong_argument(order: Order) -> None:
    order.send(order.ref(Bank, "b").charge, cents="x")  # type: ignore[arg-type]


def _unknown_argument(order: Order) -> None:
    order.send(order.ref(Bank, "b").charge, euros=1)  # type: ignore[call-arg]


def _missing_argument(order: Order) -> None:
    order.send(order.ref(Bank, "b").charge)  # type: ignore[call-arg]


def _a_call(order: Order) -> None:
    order.send(order.ref(Bank, "b").charge(cents=1))  # type: ignore[arg-type]


def _no_method(order: Order) -> None:
    order.send(print, "x")  # type: ignore[arg-type]


def _a_private_method(order: Order) -> None:
    order.send(order.private, cents=1)


def _a_hook(order: Order) -> None:
    order.send(order.on_activate)


def _a_hook_of_another(order: Order) -> None:
    order.send(order.ref(Bank, "b").on_create, name="x")


def _a_create(order: Order) -> None:
    order.send(order.create, Bank, "b")


def _a_delete(order: Order) -> None:
    order.send(order.delete, order.ref(Bank, "b"))


def _a_method_of_the_base(_: Order) -> None:
    with turn_of(Debit) as (debit, _turn):
        debit.by_base()


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (_wrong_argument, InvalidArguments, "the arguments do not fit Bank.charge: /cents"),
        (_unknown_argument, TypeError, "Bank.charge got an unexpected keyword argument 'euros'; it takes: cents"),
        (_missing_argument, TypeError, "Bank.charge is missing required arguments: cents"),
        (_a_call, TypeError, r"a call that has been made already; pass the method, and its arguments after it"),
        (_no_method, TypeError, "pass a method of a reference"),
        (_a_private_method, TypeError, "Order.private is not exported; mark it with @handler, or with @call"),
        (_a_hook, TypeError, "Order.on_activate is a hook, which only GoVerse runs"),
        (_a_hook_of_another, AttributeError, "Bank exports no method 'on_create'"),
        (_a_create, TypeError, "self.create cannot be sent; send a call instead"),
        (_a_delete, TypeError, "self.delete cannot be sent; send a call to a method of an object that deletes it"),
        (_a_method_of_the_base, TypeError, r"Debit overrides pay, so super\(\).pay cannot be named here"),
    ],
)
def test_what_cannot_be_sent_fails_at_once(wrong: Callable[[Order], None], error: type[Exception], text: str) -> None:
    with turn_of(Order) as (order, turn):
        with pytest.raises(error, match=text):
            wrong(order)
        assert turn.sent == []


@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("send", lambda order: order.send(order.pay, cents=1)),
        ("cancel", lambda order: order.cancel("c_1")),
        ("outbox", lambda order: order.outbox),
    ],
)
def test_outside_a_turn_nothing_is_sent(what: str, use: Callable[[Order], object]) -> None:
    with turn_of(Order) as (order, _):
        pass
    with pytest.raises(GoverseError, match=rf"self\.{what} of Order/o1 was used outside a turn"):
        use(order)


# --- options ----------------------------------------------------------------------------------------------------------


def test_options_become_fields_of_the_call() -> None:
    with turn_of(Order) as (order, turn):
        at = datetime.fromtimestamp(NOW_MS / 1000, UTC) + timedelta(days=30)
        then = order.sending(
            then=order.paid,
            expires=timedelta(hours=1),
            delay=timedelta(minutes=1),
            attempts=3,
            backoff=(timedelta(seconds=1), timedelta(seconds=9)),
            on_failure="hold",
            id="pay-7",
            keep=timedelta(days=1),
        )
        assert_type(then(order.ref(Bank, "b").charge, cents=1), Sent[Charge])
        assert_type(order.sending(at=at)(order.ref(Bank, "b").refund, cents=1), Sent[None])
        order.sending(at=at - timedelta(days=60))(order.ref(Bank, "b").refund, cents=1)

        first, later, overdue = turn.sent
        assert first._replace(receiver=order.key) == SentCall(
            "pay-7",
            order.key,
            "charge",
            b'{"cents":1}',
            then="paid",
            due_ms=NOW_MS + 60_000,
            expires_ms=NOW_MS + 60_000 + 3_600_000,
            attempts_max=3,
            first_ms=1_000,
            longest_ms=9_000,
            on_failure="hold",
            keep_ms=86_400_000,
            sent_ms=NOW_MS,
        )
        assert later.expires_ms - later.due_ms == WEEK_MS, "a delayed call does not expire before it is due"
        assert overdue.expires_ms == NOW_MS + WEEK_MS


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"expires": 5}, TypeError, r"expires is 5; use a timedelta"),
        ({"expires": timedelta(0)}, ValueError, "expires is 0:00:00; it must be"),
        ({"expires": timedelta(days=4_000)}, ValueError, "expires is 4000 days"),
        ({"delay": timedelta(seconds=-1)}, ValueError, "delay is -1 day"),
        ({"delay": timedelta(1), "at": datetime.now(UTC)}, ValueError, "both delay and at"),
        ({"at": datetime(2030, 1, 1)}, ValueError, "without a time zone"),  # noqa: DTZ001
        ({"at": 5}, TypeError, "use a datetime with a time zone"),
        ({"attempts": 0}, ValueError, "attempts is 0; it must be 1 to"),
        ({"attempts": True}, TypeError, "attempts is True"),
        ({"backoff": (timedelta(1), timedelta(0, 1))}, ValueError, "the first wait is longer than the longest"),
        ({"backoff": timedelta(1)}, TypeError, "the first and the longest wait"),
        ({"on_failure": "panic"}, ValueError, "'dead_letter', 'hold', 'drop'"),
        ({"id": ""}, ValueError, "has 0 bytes"),
        ({"id": "x" * 1025}, ValueError, "has 1025 bytes"),
        ({"id": "c_1"}, ValueError, "begins with 'c_', as generated ids do"),
        ({"id": "\ud800"}, ValueError, "not valid UTF-8"),
        ({"id": 7}, TypeError, "id is 7; use a string"),
        ({"keep": timedelta(-1)}, ValueError, "keep is -1 day"),
    ],
)
def test_invalid_options_name_the_value(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with turn_of(Order) as (order, _), pytest.raises(error, match=text):
        order.sending(**options)


def test_a_chosen_id_is_one_call() -> None:
    with turn_of(Order) as (order, turn):
        once = order.sending(id="pay-7")(order.ref(Bank, "b").charge, cents=1)
        again = order.sending(id="pay-7")(order.ref(Bank, "b").charge, cents=1)
        with pytest.raises(CallIdMismatch):
            order.sending(id="pay-7")(order.ref(Bank, "b").charge, cents=2)

        assert (once, len(turn.sent)) == (again, 1)


def test_the_outbox_shows_pending_calls_and_they_can_be_cancelled() -> None:
    with turn_of(Order) as (order, turn):
        kept = order.sending(then=order.paid)(order.ref(Bank, "b").charge, cents=1)
        order.sending(id="pay-7")(order.ref(Bank, "b").charge, cents=1)
        sent_at = datetime.fromtimestamp(NOW_MS / 1000, UTC)
        shown = order.outbox
        assert shown == (
            OutboxCall("c_1", kept.receiver, "charge", "pending", sent_at),
            OutboxCall("pay-7", kept.receiver, "charge", "cancelled", sent_at),
        )
        assert [order.cancel("pay-7"), order.cancel("pay-7"), order.cancel(kept)] == [True, False, True]
        assert order.cancel(shown[0]) is False
        assert turn.sent == []


# --- then -------------------------------------------------------------------------------------------------------------


def _then_with_another_result(order: Order) -> None:
    order.sending(then=order.counted)(order.ref(Bank, "b").charge, cents=1)  # type: ignore[arg-type]


def _then_without_outcome(order: Order) -> None:
    order.sending(then=order.pay)  # type: ignore[arg-type]


def _then_of_another(order: Order) -> None:
    order.sending(then=order.ref(Order, "other").paid)


def _then_not_exported(order: Order) -> None:
    order.sending(then=order.private)  # type: ignore[arg-type]


def _then_readonly(order: Order) -> None:
    order.sending(then=order.reads)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (_then_without_outcome, r"then=Order.pay does not take an outcome; declare async def pay\(self, outcome"),
        (_then_of_another, r"self.sending\(then=…\) was given"),
        (_then_not_exported, "Order.private is not exported"),
        (_then_readonly, "then=Order.reads is readonly"),
    ],
)
def test_then_is_a_method_of_this_object_that_takes_an_outcome(wrong: Callable[[Order], None], text: str) -> None:
    with turn_of(Order) as (order, _), pytest.raises(TypeError, match=text):
        wrong(order)


def test_then_may_take_any_result_and_may_be_overridden() -> None:
    with turn_of(Rush) as (rush, turn):
        rush.sending(then=rush.any_end)(rush.ref(Bank, "b").charge, cents=1)
        rush.sending(then=rush.paid)(rush.ref("Bank", "b").charge, cents=1)
        _then_with_another_result(rush)  # an error of types only: the class of the result is known when it arrives

        assert [each.then for each in turn.sent] == ["any_end", "paid", "counted"]
