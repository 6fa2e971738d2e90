"""Every wait ends: in the queue, in the method, in a method that does not listen."""

from __future__ import annotations

import asyncio

import pytest

from goverse.errors import Timeout
from tests.unit.node.rig import rig
from tests.unit.node.shapes import Counter, Plain

pytestmark = pytest.mark.requirement("GATE-6", "OBJ-9")


@pytest.fixture(autouse=True)
async def gate() -> asyncio.Event:
    Counter._gate = asyncio.Event()
    return Counter._gate


async def test_method_that_never_ends_is_cancelled_and_undone() -> None:
    async with rig(Counter) as here:
        await here.call("a", "add", by=7)
        reply = await here.send("a", "never", timeout_s=0.1)
        assert reply.problem is not None
        assert (reply.problem.code, reply.problem.retryable) == ("timeout", True)
        assert reply.problem.extra == {"operation": "never", "object": "Counter/a"}
        assert await here.call("a", "get") == 7
        assert here.node.stats.timeouts == {"Counter.never": 1}


async def test_method_may_declare_its_own_limit() -> None:
    async with rig(Counter) as here:
        assert await here.code("a", "never_by_declaration") == "timeout"


async def test_method_that_swallows_its_cancellation_has_no_effect() -> None:
    async with rig(Counter) as here:
        assert await here.code("a", "swallow_and_return", timeout_s=0.1) == "timeout"
        assert await here.call("a", "get") == 0
        assert await here.state("a") is None


async def test_object_goes_on_without_a_method_that_does_not_stop(gate: asyncio.Event) -> None:
    async with rig(Counter, cancel_grace_s=0.1) as here:
        await here.call("a", "add", by=7)
        stuck = here.send("a", "stubborn", timeout_s=0.1)
        waiting = here.send("a", "add")
        assert (await stuck).problem is not None
        assert (await waiting).body == b"8"
        assert here.node.stats.abandoned == 1
        gate.set()
        await asyncio.sleep(0.01)
        assert await here.state("a") == {"value": 8, "words": []}


async def test_call_that_waits_too_long_is_refused_and_never_runs(gate: asyncio.Event) -> None:
    async with rig(Counter) as here:
        running = here.send("a", "add_at_gate")
        late = await here.send("a", "add", timeout_s=0.1)
        assert late.problem is not None
        assert late.problem.code == "timeout"
        assert "not begun" in late.problem.detail
        gate.set()
        assert (await running).body == b"1"
        assert await here.call("a", "get") == 1


async def test_call_whose_deadline_passed_on_the_way_is_not_begun() -> None:
    async with rig(Counter) as here:
        assert await here.code("a", "add", timeout_s=-1.0) == "timeout"
        assert await here.state("a") is None


async def test_queued_call_that_nobody_waits_for_is_dropped_and_a_running_one_goes_on(gate: asyncio.Event) -> None:
    async with rig(Counter) as here:
        running = here.send("a", "add_at_gate", by=1)
        queued = here.send("a", "add", by=10)
        await here.until(lambda: here.node.deadlines.running)
        running.cancel()
        queued.cancel()
        gate.set()
        await here.until(lambda: here.node.stats.inflight == 0)
        assert await here.call("a", "get") == 1


async def test_nested_call_has_no_more_time_than_the_call_it_serves() -> None:
    async with rig(Plain, Counter) as here:
        began = here.node.now()
        code = await here.code("a", "walk", path=["b", "c"], method="nothing", timeout_s=0.2)
        assert code in {"method_failed", "timeout"}
        assert here.node.now() - began < 5


@pytest.mark.requirement("GATE-9")
async def test_mailbox_and_node_are_bounded(gate: asyncio.Event) -> None:
    async with rig(Counter, mailbox_calls_max=3, inflight_calls_max=6) as here:
        running = here.send("a", "add_at_gate")
        queued = [here.send("a", "add") for _ in range(3)]
        reply = await here.send("a", "add")
        assert reply.problem is not None
        assert (reply.problem.code, reply.problem.retryable) == ("overloaded", True)
        others = [here.send("b", "add_at_gate"), here.send("b", "add")]
        assert await here.code("c", "add") == "overloaded"
        gate.set()
        for future in [running, *queued, *others]:
            assert (await future).problem is None


async def test_stop_lets_running_calls_end_and_refuses_new_ones(gate: asyncio.Event) -> None:
    async with rig(Counter) as here:
        running = here.send("a", "add_at_gate")
        await here.until(lambda: here.node.deadlines.running)
        stopping = asyncio.create_task(here.node.stop(5.0))
        await asyncio.sleep(0)
        assert not here.node.readiness().ready
        assert await here.code("a", "add") == "draining"
        gate.set()
        assert (await running).body == b"1"
        await stopping
        assert len(here.node.residents) == 0


async def test_stop_ends_calls_that_do_not_end_in_time(gate: asyncio.Event) -> None:
    async with rig(Counter, cancel_grace_s=0.1) as here:
        running, waiting = here.send("a", "never"), here.send("a", "add")
        await here.until(lambda: here.node.deadlines.running)
        await here.node.stop(0.05)
        for future in (running, waiting):
            problem = (await future).problem
            assert problem is not None
            assert problem.code == "draining"
        gate.set()


async def test_method_that_is_given_up_before_its_first_step_ends_all_the_same() -> None:
    async with rig(Counter) as here:
        call = here.send("a", "never")
        [turn] = here.node.deadlines.running
        turn.expire(Timeout("at once"))
        assert (await call).problem is not None
        assert await here.call("a", "add") == 1
