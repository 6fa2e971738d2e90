"""Reliable calls leave with the commit of the turn that sends them, or not at all."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from goverse import BusinessError, Object, call
from goverse.errors import Executed, GoverseError, Unavailable
from goverse.limits import SENDS_BYTES_MAX, STATE_BYTES_MAX
from goverse.model.caller import identified
from goverse.model.effects import ANY_VERSION, Mark, SentCall
from goverse.model.keys import ObjectKey
from goverse.model.receipts import number_of
from goverse.objects.context import Turn, current_turn
from tests.nodes import Bench, Meeting, bench, code, key_of, problem, settle, until, value
from tests.recorded_outgoing import RecordedOutgoing

PLACE = Meeting()


class Refused(BusinessError):
    """The object refuses."""

    code = "refused"


def turn() -> Turn:
    found = current_turn.get()
    assert found is not None
    return found


def send(to: str, call_id: str = "", method: str = "take", body: bytes = b"") -> SentCall:
    return turn().send_call(SentCall(call_id, ObjectKey("default", "Receiver", to), method, body))


class Receiver(Object):
    taken: int = 0

    @call
    def take(self) -> None:
        self.taken += 1


class Sender(Object):
    sent: int = 0

    @call
    def send_one(self, to: str = "r", call_id: str = "") -> str:
        self.sent += 1
        return send(to, call_id).id

    @call
    def only_send(self, to: str = "r", call_id: str = "", size: int = 0) -> str:
        return send(to, call_id, body=b" " * size).id

    @call
    def plan(self, call_id: str) -> None:
        turn().send_call(SentCall(call_id, ObjectKey("default", "Receiver", "r"), "take", b"", due_ms=1))

    @call
    async def send_and_wait(self, to: str = "r") -> None:
        send(to)
        await PLACE.wait("sent")

    @call
    def send_and_refuse(self) -> None:
        self.sent += 1
        send("r")
        raise Refused

    @call
    def send_and_fail(self) -> None:
        send("r")
        raise ValueError("the method fails")

    @call
    def send_many(self, count: int) -> int:
        for _ in range(count):
            send("r")
        return len(turn().pending_calls())

    @call
    def send_large(self, size: int, count: int) -> None:
        for _ in range(count):
            send("r", body=b" " * size)

    @call
    def send_unknown(self) -> None:
        send("r", method="tak")

    @call(readonly=True)
    def send_in_reader(self) -> None:
        send("r")

    @call
    def send_and_cancel(self) -> list[str]:
        kept, dropped = send("r", "kept"), send("r", "dropped")
        assert turn().cancel_call(dropped.id)
        assert not turn().cancel_call(dropped.id)
        return [each.call.id for each in turn().pending_calls() if each.call.id == kept.id]

    @call
    def send_in_spite_of_errors(self) -> str:
        self.sent += 1
        try:
            return send("r", "chosen").id
        except GoverseError:
            return "no id"

    @call
    def take_back(self, call_id: str) -> bool:
        return turn().cancel_call(call_id)

    @call(readonly=True)
    def cancel_in_reader(self) -> bool:
        return turn().cancel_call("c")

    @call(readonly=True)
    def pending(self) -> list[tuple[str, str]]:
        return [(each.call.id, each.void) for each in turn().pending_calls()]

    @call
    async def send_in_tasks(self) -> None:
        async def one(to: str) -> None:
            await asyncio.sleep(0)
            send(to)

        await asyncio.gather(one("a"), one("b"))

    @call
    async def leave_a_task(self) -> None:
        own = turn()

        async def late() -> None:
            await PLACE.wait("late")
            for attempt in (lambda: send("r"), lambda: own.cancel_call("c"), own.pending_calls):
                try:
                    attempt()
                except GoverseError as error:
                    PLACE.note(error.detail)

        PLACE.task = asyncio.create_task(late())  # type: ignore[attr-defined]

    @call(reentrant=True)
    async def send_around(self) -> None:
        send("before")
        await self.ref(Sender, "through").call_back(to=self.id)
        send("after")

    @call
    async def call_back(self, to: str) -> None:
        await self.ref(Sender, to).send_inside()

    @call(reentrant=True)
    async def send_inside(self) -> list[str]:
        send("inside")
        return [each.call.receiver.id for each in turn().pending_calls()]


class Hooked(Object, delete="anyone"):
    sent: int = 0

    def on_create(self) -> None:
        send("created")

    def on_activate(self) -> None:
        send("activated")

    def on_deactivate(self) -> None:
        send("deactivated")

    def on_delete(self) -> None:
        send("deleted")

    @call
    def look(self) -> int:
        return self.sent


class Failing(Object):
    def on_create(self, refuse: bool = True) -> None:
        send("created")
        if refuse:
            raise Refused

    @call
    def look(self) -> None: ...


class Sending(Bench):
    """A bench with the outboxes of its objects."""

    outgoing: RecordedOutgoing

    @property
    def sent(self) -> list[str]:
        """The receivers of all calls that were sent, in order."""
        return [
            call.receiver.id
            for record in self.outgoing.records
            if record.effects is not None
            for call in record.effects.sends
        ]


@asynccontextmanager
async def sending(*classes: type[Any], room: int = 10_000, **options: Any) -> AsyncGenerator[Sending]:
    async with bench(*classes, Receiver, **options) as b:
        b.__class__ = Sending
        assert isinstance(b, Sending)
        b.node.outgoing = b.outgoing = RecordedOutgoing(room)
        yield b


@pytest.mark.requirement("DUR-3")
async def test_a_call_leaves_with_the_commit_of_the_turn_and_not_earlier() -> None:
    async with sending(Sender) as b:
        b.store.hold()
        reply = b.call(Sender, "s", "send_one", {"to": "r"})
        await until(lambda: b.store.arrived == 1)
        assert (b.sent, reply.done()) == ([], False)
        b.store.release()
        call_id = value(await reply)
        assert b.sent == ["r"]
        [(_, record)] = b.store.durable
        assert record.effects is not None
        assert (record.expected, record.version) == (0, 1)
        assert [call.id for call in record.effects.sends] == [call_id]
        assert call_id.startswith("c_")


@pytest.mark.requirement("DUR-3")
async def test_a_turn_that_only_sends_is_committed_and_does_not_raise_the_version() -> None:
    async with sending(Sender) as b:
        assert code(await b.call(Sender, "s", "send_one", {"to": "first"})) == ""
        reply = await b.call(Sender, "s", "only_send", {"to": "second"})
        assert (code(reply), reply.version, b.sent) == ("", 1, ["first", "second"])
        _, record = b.store.durable[-1]
        assert (record.expected, record.version, reply.commit_seq) == (1, 1, b.store.seq)


async def test_a_call_carries_what_follows_from_the_turn_that_sends_it() -> None:
    async with sending(Sender) as b:
        sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await b.call(
            Sender, "s", "send_one", request_id="r-7", caller=identified("ann"), traceparent=sampled, tracestate="v=1"
        )
        [pending] = b.outgoing.pending_of(key_of(Sender, "s"))
        sent = pending.call
        assert (sent.subject, sent.request_id, sent.tracestate) == ("ann", "r-7", "v=1")
        assert sent.traceparent[:36] == sampled[:36]
        assert sent.traceparent != sampled, "the call is a child of the turn's span"
        assert abs(sent.sent_ms - b.node.clock.wall_ms()) < 3_600_000


@pytest.mark.requirement("DUR-3")
@pytest.mark.parametrize("method", ["send_and_refuse", "send_and_fail", "send_in_reader", "send_unknown"])
async def test_a_turn_that_fails_sends_nothing(method: str) -> None:
    async with sending(Sender) as b:
        assert code(await b.call(Sender, "s", "send_one", {"to": "first"})) == ""
        for key in (None, "k"):
            assert code(await b.call(Sender, "s", method, idempotency_key=key)) != ""
        assert code(await b.call(Sender, "s", "send_one", {"to": "last"})) == ""
        assert b.sent == ["first", "last"]


@pytest.mark.requirement("DUR-3")
async def test_a_turn_that_ends_after_its_deadline_sends_nothing(meeting: Meeting) -> None:
    async with sending(Sender) as b:
        assert code(await b.call(Sender, "s", "send_and_wait", timeout_s=0.05)) == "timeout"
        assert code(await b.call(Sender, "s", "send_one", {"to": "last"})) == ""
        assert b.sent == ["last"]


@pytest.mark.requirement("DUR-3")
async def test_a_commit_that_fails_sends_nothing() -> None:
    async with sending(Sender) as b:
        assert code(await b.call(Sender, "s", "send_one", {"to": "first"})) == ""
        b.store.fail(Unavailable("the disk is full"))
        assert code(await b.call(Sender, "s", "only_send", {"to": "lost"})) == "unavailable"
        b.store.refuse(lambda record: True)
        assert code(await b.call(Sender, "s", "only_send", {"to": "refused"})) == "unavailable"
        assert b.sent == ["first"]
        assert value(await b.call(Sender, "s", "pending")) != []


@pytest.mark.requirement("DUR-3")
@pytest.mark.parametrize("method", ["send_in_spite_of_errors", "take_back", "pending"])
async def test_a_turn_that_cannot_know_the_pending_calls_is_run_again_by_the_router(method: str) -> None:
    """The router repeats a call only if its reply says that the call may have been executed or never was."""
    async with sending(Sender) as b:
        arguments = {"call_id": "chosen"} if method == "take_back" else {}
        b.outgoing.unread = True
        failed = problem(await b.call(Sender, "s", method, arguments, idempotency_key="k"))
        assert (failed.code, failed.executed) == ("unavailable", Executed.UNKNOWN)
        assert (b.sent, b.store.durable) == ([], [])
        b.outgoing.unread = False
        assert code(await b.call(Sender, "s", method, arguments, idempotency_key="k")) == ""


@pytest.mark.requirement("DUR-3")
async def test_calls_that_are_queued_behind_a_failed_commit_are_not_sent() -> None:
    async with sending(Sender) as b:
        assert code(await b.call(Sender, "s", "send_one", {"to": "first"})) == ""
        b.store.hold()
        b.store.fail(Unavailable("the disk is full"))
        lost = b.call(Sender, "s", "only_send", {"to": "lost"})
        await until(lambda: b.store.arrived == 2)
        behind = b.call(Sender, "s", "only_send", {"to": "behind"})
        b.store.release()
        assert [code(await lost), code(await behind)] == ["unavailable", "unavailable"]
        assert b.sent == ["first"]


@pytest.mark.requirement("DUR-3", "DUR-2")
@pytest.mark.parametrize("method", ["send_one", "only_send"])
async def test_a_keyed_call_that_is_repeated_does_not_send_again(method: str) -> None:
    async with sending(Sender) as b:
        replies = [await b.call(Sender, "s", method, idempotency_key="k") for _ in range(2)]
        await b.passivate()
        replies.append(await b.call(Sender, "s", method, idempotency_key="k"))
        assert [each.replayed for each in replies] == [False, True, True]
        assert len({value(each) for each in replies}) == 1
        assert b.sent == ["r"]


@pytest.mark.requirement("DUR-3")
async def test_hooks_send_with_their_own_commits() -> None:
    async with sending(Hooked) as b:
        assert value(await b.call(Hooked, "h", "look")) == 0
        assert b.sent == ["created", "activated"]
        await b.passivate()
        assert b.sent == ["created", "activated", "deactivated"]
        assert code(await b.delete(Hooked, "h")) == ""
        assert b.sent == ["created", "activated", "deactivated", "deleted"]
        assert [record.version for _, record in b.store.durable] == [1, 1, 1, 2]


async def test_a_create_that_is_refused_sends_nothing() -> None:
    async with sending(Failing) as b:
        assert code(await b.create(Failing, "f")) == "refused"
        assert code(await b.call(Failing, "g", "look")) == "refused"
        assert code(await b.create(Failing, "f", arguments={"refuse": False})) == ""
        assert b.sent == ["created"]


async def test_tasks_of_a_turn_send_with_it() -> None:
    async with sending(Sender) as b:
        assert code(await b.call(Sender, "s", "send_in_tasks")) == ""
        assert sorted(b.sent) == ["a", "b"]
        assert len(b.outgoing.records) == 1


async def test_a_task_that_outlives_its_turn_cannot_send(meeting: Meeting) -> None:
    async with sending(Sender) as b:
        assert code(await b.call(Sender, "s", "leave_a_task")) == ""
        await meeting.reached("late")
        meeting.let_go("late")
        await meeting.task  # type: ignore[attr-defined]
        refused = [each for each in meeting.happened if each != "late"]
        assert len(refused) == 3
        assert all("leave_a_task has ended" in each for each in refused)
        await settle()
        assert b.sent == []


@pytest.mark.requirement("DUR-3")
async def test_a_turn_inside_another_sends_with_its_own_commit() -> None:
    async with sending(Sender) as b:
        assert code(await b.call(Sender, "s", "send_around")) == ""
        assert b.sent == ["inside", "before", "after"]


@pytest.mark.parametrize("method", ["send_in_reader", "cancel_in_reader"])
async def test_a_readonly_method_neither_sends_nor_cancels(method: str) -> None:
    async with sending(Sender) as b:
        refused = problem(await b.call(Sender, "s", method))
        assert refused.code == "readonly_violation"
        assert f"Sender.{method} is readonly and cannot" in refused.detail


async def test_a_call_of_an_unknown_method_is_refused_where_it_is_sent() -> None:
    async with sending(Sender) as b:
        assert problem(await b.call(Sender, "s", "send_unknown")).extra["cause"] == "unknown_method"


async def test_calls_that_are_too_large_are_refused() -> None:
    async with sending(Sender) as b:
        refused = problem(await b.call(Sender, "s", "send_large", {"size": STATE_BYTES_MAX + 1, "count": 1}))
        assert (refused.code, str(STATE_BYTES_MAX) in refused.detail) == ("too_large", True)
        count = SENDS_BYTES_MAX // STATE_BYTES_MAX
        refused = problem(await b.call(Sender, "s", "send_large", {"size": STATE_BYTES_MAX, "count": count}))
        assert (refused.code, str(SENDS_BYTES_MAX) in refused.detail) == ("too_large", True)
        assert code(await b.call(Sender, "s", "send_large", {"size": STATE_BYTES_MAX, "count": count - 1})) == ""
        assert len(b.sent) == count - 1


@pytest.mark.requirement("DUR-3")
async def test_an_object_has_a_bounded_number_of_pending_calls() -> None:
    async with sending(Sender, room=5) as b:
        assert code(await b.call(Sender, "s", "send_many", {"count": 6})) == "overloaded"
        assert b.sent == []
        assert value(await b.call(Sender, "s", "send_many", {"count": 3})) == 3
        b.store.hold()
        queued = b.call(Sender, "s", "send_many", {"count": 1})
        beyond = b.call(Sender, "s", "send_many", {"count": 2})
        last = b.call(Sender, "s", "send_many", {"count": 1})
        b.store.release()
        assert (value(await queued), code(await beyond), value(await last)) == (4, "overloaded", 5)
        assert code(await b.call(Sender, "other", "send_many", {"count": 5})) == ""


async def test_a_chosen_id_is_sent_once_while_it_is_pending() -> None:
    async with sending(Sender) as b:
        b.store.hold()
        first, queued = (b.call(Sender, "s", "only_send", {"call_id": "pay"}) for _ in range(2))
        other = b.call(Sender, "s", "only_send", {"call_id": "pay", "to": "another"})
        b.store.release()
        assert (value(await first), value(await queued), code(await other)) == ("pay", "pay", "call_id_mismatch")
        assert value(await b.call(Sender, "s", "only_send", {"call_id": "pay"})) == "pay"
        assert code(await b.call(Sender, "s", "only_send", {"call_id": "pay", "size": 1})) == "call_id_mismatch"
        assert b.sent == ["r"]
        assert value(await b.call(Sender, "another sender", "only_send", {"call_id": "pay"})) == "pay"
        assert b.sent == ["r", "r"]


async def test_a_call_that_is_cancelled_in_the_turn_that_sends_it_was_never_sent() -> None:
    async with sending(Sender) as b:
        assert value(await b.call(Sender, "s", "send_and_cancel")) == ["kept"]
        assert value(await b.call(Sender, "s", "pending")) == [["kept", ""]]


@pytest.mark.requirement("DUR-3")
async def test_a_durable_call_is_cancelled_by_a_mark_in_the_commit_of_the_turn() -> None:
    async with sending(Sender) as b:
        await b.call(Sender, "s", "send_one", {"call_id": "c"})
        [pending] = b.outgoing.pending_of(key_of(Sender, "s"))
        b.store.hold()
        replies = [b.call(Sender, "s", "take_back", {"call_id": "c"}) for _ in range(2)]
        b.store.release()
        assert [value(await each) for each in replies] == [True, False]
        _, record = b.store.durable[-1]
        assert record.effects is not None
        assert record.effects.marks == (Mark(pending.number, 0, "cancelled"),)
        assert (record.expected, record.version) == (1, 1) != (ANY_VERSION, ANY_VERSION)
        assert value(await b.call(Sender, "s", "pending")) == [["c", "cancelled"]]
        assert value(await b.call(Sender, "s", "take_back", {"call_id": "c"})) is False
        assert value(await b.call(Sender, "s", "take_back", {"call_id": "unknown"})) is False


@pytest.mark.requirement("DUR-3")
async def test_a_call_whose_commit_is_queued_can_be_cancelled() -> None:
    async with sending(Sender) as b:
        await b.call(Sender, "s", "send_one", {"call_id": "first"})
        b.store.hold()
        blocked = b.call(Sender, "another", "send_one")
        await until(lambda: b.store.arrived == 2)
        sent = b.call(Sender, "s", "only_send", {"call_id": "c"})
        cancelled = [b.call(Sender, "s", "take_back", {"call_id": "c"}) for _ in range(2)]
        after = b.call(Sender, "s", "send_one", {"call_id": "last"})
        b.store.release()
        assert [code(await each) for each in (blocked, sent, after)] == [""] * 3
        assert [value(await each) for each in cancelled] == [True, False]
        assert value(await b.call(Sender, "s", "pending")) == [["first", ""], ["c", "cancelled"], ["last", ""]]
        pending = b.outgoing.find(key_of(Sender, "s"), "c")
        marks = [mark for _, record in b.store.durable if record.effects is not None for mark in record.effects.marks]
        assert pending is not None
        assert marks == [Mark(pending.number, 0, "cancelled")]


@pytest.mark.requirement("DUR-3")
async def test_a_delayed_call_can_be_cancelled_while_it_is_sent_again() -> None:
    async with bench(Sender, Receiver) as b:
        b.store.hold()
        planned = b.call(Sender, "s", "plan", {"call_id": "c"})
        await until(lambda: b.store.arrived == 1)
        b.store.release()
        b.store.hold()
        await until(lambda: b.store.arrived == 2)
        cancelled = [b.call(Sender, "s", "take_back", {"call_id": "c"}) for _ in range(2)]
        await settle()
        b.store.release()
        assert [code(await planned), *[value(await each) for each in cancelled]] == ["", True, False]
        found = [(seq, record.effects) for seq, record in b.store.durable if record.effects is not None]
        again = next(number_of(seq, 0) for seq, effects in found if effects.sends and effects.removes)
        assert [mark for _, effects in found for mark in effects.marks] == [Mark(again, 0, "cancelled")]


@pytest.mark.requirement("DUR-3")
async def test_a_cancellation_of_a_call_whose_commit_fails_fails_too() -> None:
    async with sending(Sender) as b:
        await b.call(Sender, "s", "send_one", {"call_id": "first"})
        b.store.hold()
        blocked = b.call(Sender, "another", "send_one")
        await until(lambda: b.store.arrived == 2)
        sent = b.call(Sender, "s", "only_send", {"call_id": "c"})
        cancelled = b.call(Sender, "s", "take_back", {"call_id": "c"})
        b.store.refuse(lambda record: False)
        b.store.refuse(lambda record: record.key.id == "s")
        b.store.release()
        assert [code(await each) for each in (blocked, sent, cancelled)] == ["", "unavailable", "unavailable"]
        assert value(await b.call(Sender, "s", "pending")) == [["first", ""]]


async def test_a_reply_is_delivered_even_if_the_service_of_deliveries_fails(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(RecordedOutgoing):
        def committed(self, record: Any, commit_seq: int) -> None:
            raise RuntimeError("a bug of the service")

    async with sending(Sender) as b:
        b.node.outgoing = Broken()
        assert code(await b.call(Sender, "s", "send_one")) == ""
        assert "error while noting the reliable calls of a commit" in caplog.text
