"""One turn at a time, and a turn that fails leaves nothing behind."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from goverse.model.frames import Operation
from tests.unit.node.rig import rig
from tests.unit.node.shapes import Counter

pytestmark = pytest.mark.requirement("OBJ-2", "OBJ-9")


@pytest.fixture(autouse=True)
async def gate() -> asyncio.Event:
    Counter._gate = asyncio.Event()
    return Counter._gate


@pytest.mark.requirement("OBJ-1", "OBJ-3")
async def test_first_call_creates_and_each_change_raises_the_version_by_one() -> None:
    async with rig(Counter) as here:
        assert await here.state("a") is None
        replies = [await here.send("a", "add", by=2) for _ in range(3)]
        assert [reply.version for reply in replies] == [1, 2, 3]
        assert [orjson.loads(reply.body) for reply in replies] == [2, 4, 6]
        assert await here.state("a") == {"value": 6, "words": []}


async def test_call_that_changes_nothing_does_not_raise_the_version() -> None:
    async with rig(Counter) as here:
        await here.call("a", "add")
        assert (await here.send("a", "add", by=0)).version == 1
        assert (await here.send("a", "get")).version == 1


async def test_readonly_call_of_an_object_that_does_not_exist_does_not_create_it() -> None:
    async with rig(Counter) as here:
        reply = await here.send("a", "get")
        assert (reply.body, reply.version) == (b"0", 0)
        assert await here.state("a") is None


async def test_interleaved_calls_run_one_after_the_other() -> None:
    async with rig(Counter) as here:
        results = await asyncio.gather(*(here.call("a", "add_slowly", naps=5) for _ in range(50)))
        assert sorted(results) == list(range(1, 51))
        assert results == sorted(results)


async def test_readonly_calls_run_beside_each_other_but_not_beside_a_change(gate: asyncio.Event) -> None:
    async with rig(Counter) as here:
        readers = [here.send("a", "get_at_gate") for _ in range(3)]
        await here.until(lambda: len(here.node.deadlines.running) == 3)
        writer, late_reader = here.send("a", "add"), here.send("a", "get")
        await asyncio.sleep(0.01)
        assert not writer.done()
        assert not late_reader.done()
        gate.set()
        assert [(await reader).body for reader in readers] == [b"0"] * 3
        assert (await writer).body == b"1"
        assert (await late_reader).body == b"1"


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("lie", "method_failed"),
        ("spoil", "method_failed"),
        ("go_below_zero", "method_failed"),
        ("set_undeclared", "method_failed"),
        ("lose_field", "method_failed"),
        ("get_and_change", "method_failed"),
        ("recurse", "method_failed"),
        ("fail_in_public", "method_failed"),
    ],
)
async def test_method_that_breaks_a_rule_is_undone(method: str, code: str) -> None:
    async with rig(Counter) as here:
        await here.call("a", "add", by=7)
        assert await here.code("a", method) == code
        assert await here.call("a", "add", by=0) == 7
        assert await here.state("a") == {"value": 7, "words": []}


@pytest.mark.parametrize("method", ["fail", "fail_at_once"])
@pytest.mark.parametrize("kind", ["ValueError", "SystemExit", "CancelledError", "MemoryError", "RecursionError"])
async def test_whatever_a_method_raises_is_undone_and_not_shown(method: str, kind: str) -> None:
    async with rig(Counter) as here:
        await here.call("a", "add", by=7)
        reply = await here.send("a", method, kind=kind)
        assert reply.problem is not None
        assert reply.problem.code == "method_failed"
        assert "private" not in reply.problem.detail
        assert await here.call("a", "get") == 7


async def test_declared_exception_is_shown_by_name_and_message() -> None:
    async with rig(Counter) as here:
        reply = await here.send("a", "fail_in_public")
        assert reply.problem is not None
        assert "KeyError" in reply.problem.detail
        assert "the name is known" in reply.problem.detail


async def test_business_error_reaches_the_caller_in_its_own_words() -> None:
    async with rig(Counter) as here:
        await here.call("a", "add", by=3)
        reply = await here.send("a", "spend", amount=5)
        assert reply.problem is not None
        assert (reply.problem.code, reply.problem.status) == ("too_poor", 402)
        assert reply.problem.extra == {"have": 3}
        assert await here.call("a", "get") == 3


async def test_each_of_several_readonly_calls_that_change_state_is_blamed_and_the_innocent_is_not(
    gate: asyncio.Event,
) -> None:
    async with rig(Counter) as here:
        await here.call("a", "add", by=7)
        innocent = here.send("a", "get_at_gate")
        guilty = [here.send("a", "change_then_wait") for _ in range(3)]
        for reply in await asyncio.gather(*guilty):
            assert reply.problem is not None
            assert "readonly" in reply.problem.detail
        gate.set()
        assert (await innocent).body == b"7"


@pytest.mark.requirement("GATE-9")
async def test_results_and_states_are_bounded() -> None:
    async with rig(Counter, state_bytes_max=1_000, result_bytes_max=1_000) as here:
        assert await here.code("a", "grow", size=2_000) == "too_large"
        assert await here.code("a", "shout", size=2_000) == "too_large"
        await here.call("a", "grow", size=500)
        assert await here.code("a", "grow", size=500) == "too_large"
        state = await here.state("a")
        assert len(state["words"]) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed_request"),
        (b"\xff", "malformed_request"),
        (b"[" * 5_000, "malformed_request"),
        (b"[]", "invalid_arguments"),
        (b'{"by": "2"}', "invalid_arguments"),
        (b'{"by": 1.5}', "invalid_arguments"),
        (b'{"by": null}', "invalid_arguments"),
        (b'{"other": 1}', "invalid_arguments"),
    ],
)
async def test_bad_arguments_are_refused_before_the_turn(body: bytes, code: str) -> None:
    async with rig(Counter) as here:
        assert await here.code("a", "add", body=body) == code
        assert await here.state("a") is None


async def test_unknown_names_are_told_apart() -> None:
    async with rig(Counter) as here:
        assert await here.code("a", "nothing") == "unknown_method"
        assert await here.code("a", "state_of_the_art", type_name="Nothing") == "unknown_type"
        assert await here.code("a", "_gate") == "unknown_method"
        assert await here.code("a", "__init__") == "unknown_method"
        assert await here.code("a", "on_create") == "unknown_method"
        assert await here.code("a", operation=Operation.READ, type_name="Nothing") == "unknown_type"


@pytest.mark.requirement("OBJ-3")
async def test_reserved_ids_live_where_they_say() -> None:
    async with rig(Counter, shard_count=8, node_id="here") as here:
        assert await here.call("shard#7/a", "add") == 1
        assert await here.code("shard#8/a", "add") == "malformed_request"
        assert await here.call("node#here/a", "add") == 1
        assert await here.code("node#there/a", "add") == "unavailable"
