"""Waiters run inside the node, in the middle of its work. They may start further calls or raise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from goverse import BusinessError, Object, call
from goverse.errors import Unavailable
from goverse.model.frames import Operation, Reply, Request
from goverse.objects.context import current_turn
from tests.nodes import Bench, Meeting, code, key_of, until, value
from tests.nodes import bench as running_node

PLACE = Meeting()


class Tally(Object):
    total: int = 0

    @call
    def add(self) -> int:
        self.total += 1
        return self.total

    @call
    async def add_later(self) -> int:
        await asyncio.sleep(0)
        self.total += 1
        return self.total

    @call
    async def add_slowly(self) -> int:
        seen = self.total
        await asyncio.sleep(0.001)
        self.total = seen + 1
        return self.total

    @call
    async def wait(self) -> None:
        await PLACE.wait("here")

    @call(readonly=True)
    def fail(self) -> None:
        raise BusinessError("no")

    @call(readonly=True)
    async def fail_later(self) -> None:
        raise BusinessError("no")

    @call(readonly=True)
    def look(self) -> int:
        return self.total

    @call(readonly=True)
    async def look_later(self) -> int:
        await asyncio.sleep(0)
        return self.total


class Teller:
    """Receives a reply and then calls a function of the test."""

    def __init__(self, then: Callable[[Reply], object]) -> None:
        self.replies: list[Reply] = []
        self._then = then

    def done(self) -> bool:
        return bool(self.replies)

    def set_result(self, reply: Reply, /) -> None:
        self.replies.append(reply)
        self._then(reply)


def request(bench: Bench, method: str, number: int = 1) -> Request:
    return Request(Operation.CALL, key_of(Tally, "t"), method, b"", bench.node.now() + 10.0, f"r{number}")


@pytest.mark.parametrize("method", ["add", "add_later", "look", "look_later", "fail", "fail_later"])
async def test_a_waiter_does_not_run_in_the_context_of_the_turn(method: str) -> None:
    async with running_node(Tally) as bench:
        found: list[object] = []
        bench.node.carry(request(bench, method), Teller(lambda _: found.append(current_turn.get())))
        await until(lambda: len(found) == 1)
        assert found == [None]


async def test_a_call_that_an_answer_brings_sees_the_position_of_that_answer() -> None:
    async with running_node(Tally) as bench:
        behind = Teller(lambda _: None)
        before = Teller(lambda _: bench.node.carry(request(bench, "look", 2), behind))
        bench.node.carry(request(bench, "add"), before)
        await until(behind.done)
        assert value(behind.replies[0]) == 1
        assert behind.replies[0].commit_seq == before.replies[0].commit_seq > 0


async def test_answers_that_keep_starting_calls_do_not_block_other_objects() -> None:
    async with running_node(Tally) as bench:
        seen: list[int] = []

        def again(reply: Reply) -> None:
            seen.append(value(reply))
            if len(seen) < 5_000:
                bench.node.carry(request(bench, "add", len(seen)), Teller(again))

        bench.node.carry(request(bench, "add"), Teller(again))
        assert value(await bench.call(Tally, "another", "add")) == 1
        await until(lambda: len(seen) == 5_000)
        assert seen == list(range(1, 5_001))


async def test_a_waiter_that_gets_a_timeout_may_send_the_call_again() -> None:
    async with running_node(Tally) as bench:
        told: list[str] = []
        late = replace(request(bench, "add"), deadline=bench.node.now() - 1.0, idempotency_key="k")
        again = Teller(lambda reply: told.append(reply.problem.code if reply.problem else "done"))

        def once_more(reply: Reply) -> None:
            assert reply.problem is not None
            told.append(reply.problem.code)
            bench.node.carry(replace(request(bench, "add", 2), idempotency_key="k"), again)

        bench.node.carry(late, Teller(once_more))
        await until(again.done)
        assert told == ["timeout", "done"]


async def test_a_call_from_a_timed_out_waiter_does_not_run_beside_the_promoted_one() -> None:
    async with running_node(Tally) as bench:
        before = bench.call(Tally, "t", "wait")
        await PLACE.reached("here")
        beside, heir = Teller(lambda _: None), Teller(lambda _: None)
        leader = Teller(lambda _: bench.node.carry(request(bench, "add_slowly", 3), beside))
        keyed = replace(request(bench, "add_slowly"), idempotency_key="k")
        bench.node.carry(replace(keyed, deadline=bench.node.now() - 0.001), leader)
        bench.node.carry(replace(keyed, request_id="r2"), heir)
        PLACE.let_go("here")
        await until(lambda: heir.done() and beside.done())
        assert code(leader.replies[0]) == "timeout"
        assert [value(one.replies[0]) for one in (heir, beside)] == [1, 2]
        assert value(await before) is None


async def test_a_waiter_that_gets_a_failed_commit_finds_the_object_as_stored() -> None:
    async with running_node(Tally) as bench:
        assert value(await bench.call(Tally, "t", "add")) == 1
        bench.store.fail(Unavailable("not now"))
        behind = Teller(lambda _: None)
        failed = Teller(lambda _: bench.node.carry(request(bench, "look_later", 2), behind))
        bench.node.carry(request(bench, "add"), failed)
        await until(behind.done)
        assert code(failed.replies[0]) == "unavailable"
        assert value(behind.replies[0]) == 1
