"""Tests of the rules in ``goverse.ports.link``, for any implementation of a link.

Subclass :class:`LinkContract` in a test file and implement ``opened``, which connects to new objects of the types in
``link_objects``, hosted in the test's own process:

>>> class TestMyLink(LinkContract):
...     @asynccontextmanager
...     async def opened(self) -> AsyncIterator[Link]:
...         async with a_node(*CLASSES) as node, my_link_to(node) as link:
...             yield link

``CarrierContract`` sends the same requests with ``carry``. The suite uses plain assertions and works with any test
runner that supports asyncio.
"""

from __future__ import annotations

import asyncio
import itertools
from asyncio import Future
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, cast

import orjson

from goverse.errors import UnknownType
from goverse.model.caller import identified
from goverse.model.frames import MUST_EXIST, Operation, Problem, Reply, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse.ports.link import Carrier, Link
from goverse.testing.link_objects import Door

TIMEOUT_S: Final = 30.0
ODD_IDS: Final = ("é/ü ?#%", "\U0001f600", "a\x00b", "x" * 512)


class LinkContract:
    """The tests that every link passes; subclasses implement ``opened``."""

    def opened(self) -> AbstractAsyncContextManager[Link]:
        """Return a context manager with a link to new objects, ready for requests."""
        raise NotImplementedError

    async def cancellations_arrived(self, waiting: int) -> None:
        """Wait until the node knows that only ``waiting`` requests still have a waiter.

        In the same process the node knows immediately; for a link between processes, override this method.
        """
        del waiting

    # --- helpers ------------------------------------------------------------------------------------------------------

    _numbers = itertools.count(1)

    def submit(
        self, link: Link, operation: Operation, object_id: str = "a", method: str = "", **further: Any
    ) -> Future[Reply]:
        """Send a request to a ledger; ``further``: ``arguments``, ``timeout_s`` and fields of the request."""
        arguments, timeout_s = further.pop("arguments", None), further.pop("timeout_s", TIMEOUT_S)
        key = ObjectKey(DEFAULT_NAMESPACE, further.pop("type_name", "Ledger"), object_id)
        body = orjson.dumps(arguments) if arguments is not None else b""
        deadline = asyncio.get_running_loop().time() + timeout_s
        return self.send(link, Request(operation, key, method, body, deadline, f"c{next(self._numbers)}", **further))

    def send(self, link: Link, request: Request) -> Future[Reply]:
        """Send a request; to give up waiting for the reply, cancel the future."""
        return link.submit(request)

    def call(self, link: Link, method: str, object_id: str = "a", **further: Any) -> Future[Reply]:
        """Call a method of a ledger; see ``submit``."""
        return self.submit(link, Operation.CALL, object_id, method, **further)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` returns True."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():  # noqa: ASYNC110  # the condition has no event to wait for
                await asyncio.sleep(0.002)

    # --- calls --------------------------------------------------------------------------------------------------------

    async def test_a_reply_holds_result_version_and_position(self) -> None:
        async with self.opened() as link:
            first, second = await self.call(link, "add", arguments={"amount": 5}), await self.call(link, "add")

            assert (first.body, first.version, first.problem) == (b"5", 1, None)
            assert (second.body, second.version) == (b"6", 2)
            assert 0 < first.commit_seq < second.commit_seq
            assert link.readiness().commit_seq >= second.commit_seq

    async def test_calls_of_one_object_run_in_the_order_in_which_they_were_sent(self) -> None:
        async with self.opened() as link:
            replies = await asyncio.gather(*(self.call(link, "add") for _ in range(500)))

            assert [int(reply.body) for reply in replies] == list(range(1, 501))

    async def test_ids_and_texts_of_any_form_pass(self) -> None:
        async with self.opened() as link:
            for odd in ODD_IDS:
                text = odd * 3
                reply = await self.call(link, "repeat", odd, arguments={"text": text})
                assert (reply.problem, orjson.loads(reply.body)) == (None, text)

    async def test_large_bodies_pass_both_ways(self) -> None:
        async with self.opened() as link:
            text = "x" * (1024 * 1024 - 64)
            replies = await asyncio.gather(
                *(self.call(link, "repeat", f"o{index}", arguments={"text": text}) for index in range(8))
            )

            assert {orjson.loads(reply.body) for reply in replies} == {text}

    async def test_caller_and_trace_pass(self) -> None:
        async with self.opened() as link:
            trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
            reply = await self.call(link, "who", caller=identified("alice"), traceparent=trace, tracestate="congo=t61")

            assert orjson.loads(reply.body) == f"alice {trace} congo=t61"

    async def test_the_chain_of_calls_passes(self) -> None:
        async with self.opened() as link:
            running = self.call(link, "add_later")
            await self.until(lambda: bool(Door.waiting))
            chain = (ObjectKey(DEFAULT_NAMESPACE, "Ledger", "a"),)
            returning = await self.call(link, "add", chain=chain)
            Door.open()

            assert returning.problem is not None
            assert returning.problem.code == "deadlock"
            assert (await running).body == b"1"

    # --- the other operations -----------------------------------------------------------------------------------------

    async def test_objects_are_created_read_and_deleted(self) -> None:
        async with self.opened() as link:
            created = await self.submit(link, Operation.CREATE, if_match=0)
            again = await self.submit(link, Operation.CREATE, if_match=0)
            state = await self.submit(link, Operation.READ)
            deleted = await self.submit(link, Operation.DELETE, if_match=MUST_EXIST)
            gone = await self.submit(link, Operation.READ)

            assert (created.created, created.problem) == (True, None)
            assert again.problem is not None
            assert again.problem.code == "object_exists"
            assert (orjson.loads(state.body), state.version) == ({"total": 0}, 1)
            assert deleted.problem is None
            assert gone.problem is not None
            assert gone.problem.code == "object_not_found"

    async def test_objects_are_listed(self) -> None:
        async with self.opened() as link:
            for name in ("b", "a", "ab", "é"):
                await self.call(link, "add", name)
            everything = await link.list(DEFAULT_NAMESPACE, "Ledger", prefix="", after=None, limit=10)
            some = await link.list(DEFAULT_NAMESPACE, "Ledger", prefix="a", after="a", limit=10)

            assert [tuple(item) for item in everything] == [("a", 1), ("ab", 1), ("b", 1), ("é", 1)]
            assert [item.id for item in some] == ["ab"]

    async def test_a_listing_of_an_unknown_type_raises(self) -> None:
        async with self.opened() as link:
            try:
                await link.list(DEFAULT_NAMESPACE, "Nothing", prefix="", after=None, limit=1)
            except UnknownType:
                return
            raise AssertionError("a type that does not exist was listed")

    async def test_readiness_is_reported(self) -> None:
        async with self.opened() as link:
            await self.until(lambda: link.readiness().ready)
            assert link.readiness().reasons == ()

    # --- errors -------------------------------------------------------------------------------------------------------

    async def test_problems_arrive_complete(self) -> None:
        async with self.opened() as link:
            reply = await self.call(link, "take", arguments={"amount": 3})

            assert reply.problem is not None
            assert reply.problem == Problem(
                "overdrawn", "there are 0", extra={"total": 0}, status=402, request_id=reply.problem.request_id
            )
            assert reply.problem.request_id

    async def test_invalid_requests_get_a_problem_not_an_exception(self) -> None:
        async with self.opened() as link:
            replies = [
                await self.call(link, "add", type_name="Nothing"),
                await self.call(link, "nothing"),
                await self.call(link, "add", arguments={"amount": "much"}),
            ]

            codes = [reply.problem and reply.problem.code for reply in replies]
            assert codes == ["unknown_type", "unknown_method", "invalid_arguments"]

    async def test_a_version_that_does_not_match_is_a_problem(self) -> None:
        async with self.opened() as link:
            await self.call(link, "add")
            wrong, right = await self.call(link, "add", if_match=7), await self.call(link, "add", if_match=1)

            assert wrong.problem is not None
            assert wrong.problem.code == "version_mismatch"
            assert right.body == b"2"

    async def test_a_repeated_key_gets_the_stored_answer(self) -> None:
        async with self.opened() as link:
            first = await self.call(link, "add", idempotency_key="k")
            again = await self.call(link, "add", idempotency_key="k", attempt=1)

            assert (first.body, first.replayed) == (b"1", False)
            assert (again.body, again.replayed, again.version) == (b"1", True, 1)

    async def test_a_deadline_ends_the_wait(self) -> None:
        async with self.opened() as link:
            late = await self.call(link, "add_later", timeout_s=0.1)
            passed = await self.call(link, "add_later", timeout_s=-1.0)

            for reply in (late, passed):
                assert reply.problem is not None
                assert reply.problem.code == "timeout"
            assert (await self.call(link, "add")).body == b"1"  # the door is closed: only the deadline ended the turn

    async def test_a_cancelled_request_that_has_not_begun_is_dropped(self) -> None:
        async with self.opened() as link:
            first = self.call(link, "add_later")
            await self.until(lambda: bool(Door.waiting))
            second, third = self.call(link, "add", arguments={"amount": 100}), self.call(link, "add")
            await self.call(link, "repeat", "other", arguments={"text": "all three have arrived by now"})
            second.cancel()
            await self.cancellations_arrived(2)
            Door.open()

            assert ((await first).body, (await third).body) == (b"1", b"2")

    async def test_a_cancelled_request_that_runs_continues_to_its_end(self) -> None:
        async with self.opened() as link:
            running = self.call(link, "add_later")
            await self.until(lambda: bool(Door.waiting))
            running.cancel()
            await self.cancellations_arrived(0)
            Door.open()

            assert (await self.call(link, "add")).body == b"2"


class StrictWaiter:
    """A waiter that fails if a reply is delivered twice, or after the waiter gave up."""

    def __init__(self, future: Future[Reply]) -> None:
        """Deliver the reply to ``future``; cancelling it gives up."""
        self._future = future

    def done(self) -> bool:
        """True if the reply was delivered or the waiter gave up."""
        return self._future.done()

    def set_result(self, reply: Reply, /) -> None:
        """Deliver the reply."""
        assert not self._future.done(), "a reply was delivered to a waiter that no longer waits"
        self._future.set_result(reply)


class CarrierContract(LinkContract):
    """The tests that every carrier passes: those of a link, sent with waiters instead of futures."""

    def send(self, link: Link, request: Request) -> Future[Reply]:
        """Send a request; to give up waiting for the reply, cancel the future."""
        carrier = cast("Carrier", link)  # ``opened`` of a carrier's tests returns a carrier
        future: Future[Reply] = asyncio.get_running_loop().create_future()
        carrier.carry(request, StrictWaiter(future))
        return future
