"""A sender learns the outcome of a reliable call in a turn whose commit also removes the call."""

from asyncio import Future
from typing import Any

import pytest

from goverse import BusinessError, Object, call, handler
from goverse.errors import Unavailable
from goverse.model.caller import SYSTEM
from goverse.model.effects import Effects, FinishedCall, SentCall
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.objects.context import current_turn
from tests.nodes import Bench, bench, code, key_of, value
from tests.recorded_outgoing import RecordedOutgoing

SENT = SentCall("c", ObjectKey("default", "Order", "other"), "paid", b"")
ENDED = FinishedCall(SENT, ObjectKey("default", "Order", "o"), "success", b"", 0, 1_000, 2_000)


class Refused(BusinessError):
    """The object refuses."""

    code = "refused"


class Order(Object):
    paid_: int = 0

    @handler
    def paid(self, error: str = "", change: bool = True) -> str:
        turn = current_turn.get()
        assert turn is not None
        turn.send_call(SENT._replace(id="next"))
        self.paid_ += change
        if error == "business":
            raise Refused
        if error:
            raise ValueError(error)
        return self.context.caller.kind

    @handler
    async def passed_on(self, fail: bool) -> int:
        found = await self.ref(Order, "count").count()
        if fail:
            raise ValueError("the method fails")
        return found

    @call
    async def count(self) -> int:
        self.paid_ += 1
        return self.paid_


EFFECTS = Effects(removes=(7,), finished=(ENDED,))


def conclude(b: Bench, body: bytes = b"", method: str = "paid") -> Future[Reply]:
    request = Request(Operation.CALL, key_of(Order, "o"), method, body, b.node.now() + 30, "r", caller=SYSTEM)
    return b.node.conclude(request, EFFECTS)


@pytest.mark.requirement("DUR-3")
@pytest.mark.parametrize(("body", "version"), [(b"", 2), (b'{"change": false}', 1)])
async def test_the_removal_of_a_call_and_the_effect_of_its_outcome_are_one_commit(body: bytes, version: int) -> None:
    async with bench(Order) as b:
        b.node.outgoing = outgoing = RecordedOutgoing()
        assert value(await b.call(Order, "o", "count")) == 1
        reply = await conclude(b, body)
        assert (value(reply), reply.version, reply.commit_seq) == ("system", version, b.store.seq)
        [record] = outgoing.records
        assert record.effects is not None
        assert (record.version, record.effects.removes, record.effects.finished) == (version, (7,), (ENDED,))
        assert [each.id for each in record.effects.sends] == ["next"]


@pytest.mark.requirement("DUR-3")
@pytest.mark.parametrize("error", ["business", "another"])
async def test_a_turn_that_fails_removes_nothing(error: str) -> None:
    async with bench(Order) as b:
        b.node.outgoing = outgoing = RecordedOutgoing()
        assert value(await b.call(Order, "o", "count")) == 1
        before = len(b.store.durable)
        reply = await conclude(b, b'{"error": "%s"}' % error.encode())
        assert code(reply) == ("refused" if error == "business" else "method_failed")
        assert (len(b.store.durable), outgoing.records) == (before, [])


@pytest.mark.requirement("DUR-3")
async def test_a_commit_that_fails_removes_nothing() -> None:
    async with bench(Order) as b:
        b.node.outgoing = outgoing = RecordedOutgoing()
        b.store.fail(Unavailable("the disk is full"))
        assert code(await conclude(b)) == "unavailable"
        assert outgoing.records == []
        assert code(await conclude(b)) == ""
        assert len(outgoing.records) == 1


@pytest.mark.parametrize(("method", "expected"), [("unknown", "unknown_method"), ("count", "")])
async def test_any_method_of_the_sender_can_take_an_outcome(method: str, expected: str) -> None:
    async with bench(Order) as b:
        b.node.outgoing = RecordedOutgoing()
        assert code(await conclude(b, method=method)) == expected


async def test_a_nested_call_of_a_repeated_conclusion_has_one_effect() -> None:
    async with bench(Order) as b:
        b.node.outgoing = RecordedOutgoing()
        assert code(await conclude(b, b'{"fail": true}', "passed_on")) == "method_failed"
        assert value(await conclude(b, b'{"fail": false}', "passed_on")) == 1
        assert value(await b.call(Order, "count", "count")) == 2


async def test_a_node_that_stops_concludes_nothing() -> None:
    async with bench(Order) as b:
        b.node.outgoing = outgoing = RecordedOutgoing()
        await b.node.stop(1.0)
        reply: Any = await conclude(b)
        assert (code(reply), outgoing.records) == ("draining", [])
