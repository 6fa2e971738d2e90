"""The same key runs once and is answered with the same bytes."""

from __future__ import annotations

import asyncio

import pytest

from goverse.errors import Unavailable
from goverse.model.frames import Operation
from tests.unit.node import shapes
from tests.unit.node.rig import rig
from tests.unit.node.shapes import Counter, Plain

pytestmark = pytest.mark.requirement("DUR-2")


@pytest.fixture(autouse=True)
async def gate() -> asyncio.Event:
    Counter._gate = asyncio.Event()
    shapes._failed.clear()
    return Counter._gate


@pytest.mark.parametrize("remote", [False, True])
async def test_repeated_key_is_answered_with_the_first_answer(remote: bool) -> None:
    async with rig(Counter) as here:
        here.store.remote = remote
        first = await here.send("a", "add", key="k", by=2)
        await here.call("a", "add", by=40)
        again = await here.send("a", "add", key="k", by=2)
        assert again.replayed
        assert (again.body, again.version, again.commit_seq) == (first.body, first.version, first.commit_seq)
        assert await here.call("a", "get") == 42


@pytest.mark.parametrize("remote", [False, True])
async def test_equal_calls_at_the_same_time_run_once(remote: bool) -> None:
    async with rig(Counter) as here:
        here.store.remote = remote
        replies = await asyncio.gather(*(here.send("a", "add_slowly", key="k", naps=3) for _ in range(20)))
        assert {reply.body for reply in replies} == {b"1"}
        assert sum(not reply.replayed for reply in replies) == 1
        assert await here.call("a", "get") == 1


async def test_key_with_another_body_or_method_is_refused_and_runs_nothing() -> None:
    async with rig(Counter) as here:
        await here.call("a", "add", key="k", by=1)
        assert await here.code("a", "add", key="k", by=2) == "idempotency_key_mismatch"
        assert await here.code("a", "add_slowly", key="k", by=1) == "idempotency_key_mismatch"
        assert await here.call("a", "get") == 1


async def test_key_with_another_body_is_refused_while_the_first_still_runs(gate: asyncio.Event) -> None:
    async with rig(Counter) as here:
        first = here.send("a", "add_at_gate", key="k")
        assert await here.code("a", "add", key="k") == "idempotency_key_mismatch"
        gate.set()
        assert (await first).body == b"1"


async def test_waiting_for_a_running_call_of_the_same_key_ends_with_the_deadline(gate: asyncio.Event) -> None:
    async with rig(Counter) as here:
        first = here.send("a", "add_at_gate", key="k")
        assert await here.code("a", "add_at_gate", key="k", timeout_s=0.1) == "idempotency_in_progress"
        gate.set()
        assert (await first).body == b"1"


async def test_keys_belong_to_one_object() -> None:
    async with rig(Counter) as here:
        assert await here.call("a", "add", key="k") == 1
        assert await here.call("b", "add", key="k") == 1


async def test_business_errors_are_kept_and_accidents_are_not() -> None:
    async with rig(Counter) as here:
        first = await here.send("a", "spend", key="k", amount=5)
        await here.call("a", "add", by=10)
        again = await here.send("a", "spend", key="k", amount=5)
        assert first.problem is not None
        assert again.problem is not None
        assert again.replayed
        assert (again.problem.detail, again.problem.request_id) == (first.problem.detail, first.problem.request_id)
        assert await here.code("a", "fail_at_once", key="f") == "method_failed"
        failed_again = await here.send("a", "fail_at_once", key="f")
        assert not failed_again.replayed
        assert await here.call("a", "get") == 10


async def test_keys_survive_passivation_and_restart() -> None:
    async with rig(Counter) as here:
        first = await here.send("a", "add", key="k", by=3)
        await here.restart()
        again = await here.send("a", "add", key="k", by=3)
        assert again.replayed
        assert again.body == first.body
        assert await here.call("a", "get") == 3


async def test_readonly_call_with_a_key_is_kept_too() -> None:
    async with rig(Counter) as here:
        first = await here.send("a", "get", key="k")
        await here.call("a", "add")
        assert (await here.send("a", "get", key="k")).body == first.body


@pytest.mark.requirement("OBJ-3")
async def test_create_and_delete_with_a_key_happen_once() -> None:
    async with rig(Counter) as here:
        created = await here.send("a", operation=Operation.CREATE, key="c")
        assert created.created
        assert (await here.send("a", operation=Operation.CREATE, key="c")).created
        deleted = await here.send("a", operation=Operation.DELETE, key="d")
        await here.call("a", "add")
        again = await here.send("a", operation=Operation.DELETE, key="d")
        assert (again.version, again.replayed) == (deleted.version, True)
        assert await here.call("a", "get") == 1


async def test_retried_chain_does_not_repeat_the_part_that_was_done() -> None:
    async with rig(Plain) as here:
        assert await here.code("a", "add_other_then_fail_once", key="k", other="b") == "method_failed"
        assert await here.call("b", "get") == 1
        assert await here.call("a", "add_other_then_fail_once", key="k", other="b") == 1
        assert await here.call("b", "get") == 1


async def test_same_chain_without_a_key_is_a_new_call_each_time() -> None:
    async with rig(Plain) as here:
        await here.call("a", "add_both", other="b")
        await here.call("a", "add_both", other="b")
        assert await here.call("b", "get") == 2


async def test_call_whose_commit_failed_runs_again_with_its_key() -> None:
    async with rig(Counter) as here:
        here.store.failures = [Unavailable("the disk is full")]
        assert await here.code("a", "add", key="k") == "unavailable"
        assert await here.call("a", "add", key="k") == 1
        assert await here.call("a", "get") == 1
