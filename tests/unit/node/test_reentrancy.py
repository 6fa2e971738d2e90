"""A call chain that comes back runs where it may and fails where it must; it never waits for itself."""

from __future__ import annotations

import pytest

from goverse.model.frames import Operation
from tests.unit.node.rig import rig
from tests.unit.node.shapes import Knot, Plain

pytestmark = pytest.mark.requirement("OBJ-2", "OBJ-8")


async def test_chain_that_comes_back_gets_a_deadlock_at_once() -> None:
    async with rig(Plain) as here:
        reply = await here.send("a", "walk", path=["b", "a"])
        assert reply.problem is not None
        assert reply.problem.code == "deadlock"
        assert "reentrant" in reply.problem.detail
        assert await here.call("a", "get") == 0


async def test_object_that_calls_itself_gets_a_deadlock() -> None:
    async with rig(Plain) as here:
        assert await here.code("a", "walk", path=["a"]) == "deadlock"


async def test_deadlock_can_be_caught_on_the_way() -> None:
    async with rig(Plain) as here:
        assert await here.call("a", "survive_deadlock", path=["b", "a"]) == "told"
        assert await here.call("a", "get") == 1


async def test_readonly_chain_may_come_back_to_a_readonly_call() -> None:
    async with rig(Plain) as here:
        await here.call("a", "add", by=4)
        assert await here.call("a", "read_through", path=["b", "c", "a"]) == 4


async def test_readonly_chain_that_comes_back_does_not_wait_behind_a_change_in_the_queue() -> None:
    async with rig(Plain) as here:
        reads = [here.send("a", "read_through", path=["b", "a", "c"]) for _ in range(10)]
        changes = [here.send("a", "add") for _ in range(10)]
        for reply in [await future for future in reads + changes]:
            assert reply.problem is None


async def test_reentrant_object_runs_what_comes_back_and_both_count() -> None:
    async with rig(Knot) as here:
        assert await here.call("a", "walk_then_add", path=["b", "a"], by=10) == 11
        assert (await here.state("a"))["value"] == 11
        assert (await here.send("a", "get")).version == 2


async def test_what_came_back_and_was_committed_stays_when_the_outer_turn_fails() -> None:
    async with rig(Knot) as here:
        assert await here.code("a", "walk_then_fail", path=["b", "a"]) == "method_failed"
        assert await here.call("a", "get") == 1
        assert (await here.state("a"))["value"] == 1


@pytest.mark.parametrize("method", ["add", "get"])
async def test_nothing_comes_back_into_changes_that_are_not_committed(method: str) -> None:
    async with rig(Knot) as here:
        reply = await here.send("a", "add_then_walk", path=["b", "a"], method=method)
        assert reply.problem is not None
        assert reply.problem.code == "deadlock"
        assert "not committed" in reply.problem.detail
        assert await here.call("a", "get") == 0


async def test_several_calls_come_back_at_once() -> None:
    async with rig(Knot) as here:
        assert await here.call("a", "fork", paths=[["b", "a"], ["c", "a"], ["d", "e", "a"]], method="get") == [0, 0, 0]
        values = await here.call("a", "fork", paths=[["b", "a"], ["c", "a"], ["d", "e", "a"]], method="add")
        assert sorted(values) == [1, 2, 3]
        assert (await here.state("a"))["value"] == 3


async def test_two_turns_that_both_change_the_state_do_not_both_win() -> None:
    async with rig(Knot) as here:
        reply = await here.send("a", "change_beside", other="b")
        assert reply.problem is not None
        assert reply.problem.code == "reentrancy_conflict"
        await here.until(lambda: here.node.stats.inflight == 0)
        assert await here.state("a") == {"value": 0, "seen": ["bounced"]}


async def test_deep_chain_is_cut() -> None:
    async with rig(Plain) as here:
        assert await here.code("x", "walk", path=[f"object-{index}" for index in range(40)]) == "deadlock"


async def test_chain_can_not_delete_or_create_what_waits_for_it() -> None:
    async with rig(Plain) as here:
        await here.call("a", "add")
        key = here.node.residents.get  # the object is resident, so a forged chain reaches its activation
        activation = key(next(iter(here.node.residents)).key)
        assert activation is not None
        code = await here.code("a", operation=Operation.DELETE, chain=(activation.key,))
        assert code == "deadlock"


async def test_two_chains_that_wait_for_each_other_are_told_and_do_not_hang() -> None:
    async with rig(Plain) as here:
        replies = [here.send("a", "walk", path=["b"]), here.send("b", "walk", path=["a"])]
        problems = [(await reply).problem for reply in replies]
        assert [problem.code for problem in problems if problem is not None] == ["deadlock"]


async def test_longer_ring_of_chains_is_told_too() -> None:
    async with rig(Plain) as here:
        ring = ["a", "b", "c", "d"]
        replies = [here.send(name, "walk", path=[ring[(index + 1) % 4]]) for index, name in enumerate(ring)]
        codes = [reply.problem.code for reply in [await reply for reply in replies] if reply.problem is not None]
        assert codes
        assert set(codes) == {"deadlock"}
        assert sum([await here.call(name, "get") for name in ring]) == 4 - len(codes)
