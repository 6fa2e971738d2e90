"""No answer before its commit, and what a failed commit takes with it."""

from __future__ import annotations

import asyncio

import pytest

from goverse.errors import StoreFailed, Unavailable
from goverse.model.frames import Operation
from tests.unit.node.rig import rig
from tests.unit.node.shapes import Counter, Plain

pytestmark = pytest.mark.requirement("DUR-1")


@pytest.fixture(autouse=True)
async def gate() -> asyncio.Event:
    Counter._gate = asyncio.Event()
    return Counter._gate


async def _settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_no_reply_leaves_before_the_commit_it_depends_on() -> None:
    async with rig(Counter) as here:
        here.store.hold()
        written = here.send("a", "add", by=5)
        read = here.send("a", "get")
        refused = here.send("a", "spend", amount=6)
        state = here.send("a", operation=Operation.READ)
        await _settle()
        assert not written.done()
        assert not read.done()
        assert not refused.done()
        assert (await state).problem is not None  # durable data only: there is no such object yet
        here.store.release()
        assert ((await written).body, (await read).body) == (b"5", b"5")
        assert (await refused).problem is not None
        assert (await read).commit_seq == (await written).commit_seq


async def test_turns_go_on_while_commits_wait_and_are_answered_in_order() -> None:
    async with rig(Counter) as here:
        here.store.hold()
        order: list[int] = []
        futures = [here.send("a", "add") for _ in range(100)]
        for index, future in enumerate(futures):
            future.add_done_callback(lambda _, index=index: order.append(index))
        await _settle()
        here.store.release()
        assert [(await future).body for future in futures] == [str(index + 1).encode() for index in range(100)]
        assert order == sorted(order)
        assert [version for _, version, _ in here.store.durable] == list(range(1, 101))


async def test_outgoing_call_leaves_only_after_what_was_done_before_it() -> None:
    async with rig(Plain) as here:
        here.store.hold()
        first = here.send("a", "add")
        chain = here.send("a", "add_both", other="b")
        await _settle()
        assert "b" not in {activation.key.id for activation in here.node.residents}
        here.store.release()
        assert (await first).problem is None
        assert (await chain).body == b"2"
        assert [key.id for key, _, _ in here.store.durable] == ["a", "b", "a"]


@pytest.mark.parametrize("failure", [Unavailable("the disk is full"), StoreFailed("the disk is gone")])
async def test_failed_commit_fails_every_turn_behind_it_and_the_object_goes_on_from_what_is_durable(
    failure: Unavailable | StoreFailed,
) -> None:
    async with rig(Counter) as here:
        await here.call("a", "add", by=10)
        here.store.hold()
        here.store.failures = [failure]
        doomed = [here.send("a", "add")]
        await here.until(lambda: here.store.waiting == 1)
        doomed += [here.send("a", "add") for _ in range(5)] + [here.send("a", "get")]
        await _settle()
        here.store.release()
        for reply in await asyncio.gather(*doomed):
            assert reply.problem is not None
            assert (reply.problem.code, reply.problem.retryable) == ("unavailable", True)
        assert await here.call("a", "add") == 11
        assert await here.state("a") == {"value": 11, "words": []}


async def test_record_that_is_refused_alone_fails_alone() -> None:
    async with rig(Counter) as here:
        here.store.hold()
        here.store.conflicts = 1
        first, second = here.send("a", "add"), here.send("b", "add")
        await _settle()
        here.store.release()
        reply = await first
        assert reply.problem is not None
        assert reply.problem.code == "unavailable"
        assert (await second).body == b"1"
        assert await here.call("a", "add") == 1


async def test_calls_that_wait_while_a_commit_fails_run_afterwards(gate: asyncio.Event) -> None:
    async with rig(Counter) as here:
        here.store.hold()
        here.store.failures = [Unavailable("not now")]
        doomed = here.send("a", "add")
        await _settle()
        running = here.send("a", "add_at_gate")
        waiting = [here.send("a", "add") for _ in range(3)]
        await _settle()
        here.store.release()
        assert (await doomed).problem is not None
        assert (await running).problem is not None
        assert sorted([(await future).body for future in waiting]) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("remote", [False, True])
async def test_new_activation_continues_versions_without_gap(remote: bool) -> None:
    async with rig(Counter) as here:
        here.store.remote = remote
        for _ in range(5):
            await here.call("a", "add")
            for activation in here.node.residents:
                activation.close()
        assert [version for _, version, _ in here.store.durable] == [1, 2, 3, 4, 5]
        assert here.node.stats.activations == 5
