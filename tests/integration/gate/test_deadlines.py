"""Deadlines and client disconnects."""

from __future__ import annotations

import asyncio

import pytest

from goverse import Object, call
from goverse.model.frames import Problem, Reply
from goverse.objects.registry import Registry
from goverse_gate.options import GateOptions
from goverse_gate.timeouts import PERIOD_S
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.gate.serving import Serving, serving, serving_link
from tests.gate.wire import connected, request, until
from tests.nodes import Meeting

INCREMENT = "/objects/Counter/c1/call/increment"


@pytest.mark.requirement("GATE-6")
async def test_a_call_that_the_link_never_answers_ends_at_its_deadline(gate: Serving) -> None:
    gate.link.held = True
    answer = await gate.client.post(INCREMENT, headers={"GoVerse-Timeout": "0.15"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["retryable"]) == (504, "timeout", True)
    assert (problem["operation"], problem["object"], problem["seconds"]) == ("increment", "Counter/c1", 0.15)
    assert gate.link.waiters[0].done()
    metrics = (await gate.client.get("/metrics")).text
    assert 'goverse_operation_timeouts_total{operation="call"} 1.0' in metrics


@pytest.mark.requirement("GATE-6")
async def test_without_a_header_the_default_holds_for_each_operation() -> None:
    async with serving(GateOptions(default_call_timeout_s=0.1, default_create_timeout_s=0.12)) as gate:
        gate.link.held = True
        answers = await asyncio.gather(
            gate.client.post(INCREMENT), gate.client.put("/objects/Counter/c2"), gate.client.get("/objects/Counter/c1")
        )
    assert [answer.json()["seconds"] for answer in answers] == [0.1, 0.12, 0.1]
    assert [answer.json()["operation"] for answer in answers] == ["increment", "create", "read"]


place = Meeting()


class Sleeper(Object):
    @call
    async def sleep(self) -> None:
        await place.wait(self.id)


@pytest.mark.requirement("GATE-6", "DUR-2")
@pytest.mark.parametrize("query", ["", "?"])  # the second one goes through ASGI
async def test_at_the_deadline_the_client_gets_the_nodes_error(query: str) -> None:
    registry, store = Registry([Sleeper]), MemoryStore()
    await store.open()
    node = Node(registry, store)
    await node.start()
    async with serving_link(node, registry, GateOptions()) as (_, _, client):

        async def follow(number: int) -> int:
            path, key = f"/objects/Sleeper/s{number}/call/sleep{query}", {"Idempotency-Key": "k"}
            first = asyncio.create_task(client.post(path, headers=key))
            await place.reached(f"s{number}")
            timeout_s = 0.2 + number * 0.017  # at different offsets within the period of the gate's timer
            second = await client.post(path, headers={**key, "GoVerse-Timeout": f"{timeout_s:.3f}"})
            place.let_go(f"s{number}")
            assert (await first).status_code == 200
            return second.status_code

        assert set(await asyncio.gather(*map(follow, range(20)))) == {409}
    await node.stop()
    await store.close()


class Slow(Object):
    @call
    async def work(self) -> None:
        await asyncio.sleep(60)

    @call(timeout_s=0.2)
    async def hurry(self) -> None:
        await asyncio.sleep(60)


@pytest.mark.requirement("GATE-6")
@pytest.mark.parametrize("query", ["", "?"])  # the second one goes through ASGI
async def test_a_timeout_error_contains_the_timeout(query: str) -> None:
    registry, store = Registry([Slow]), MemoryStore()
    await store.open()
    node = Node(registry, store)
    await node.start()
    async with serving_link(node, registry, GateOptions()) as (_, _, client):

        async def seconds(name: str, **headers: str) -> float:
            answer = await client.post(f"/objects/Slow/{name}{query}", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
            return float(answer.json()["seconds"])

        header = {"GoVerse-Timeout": "0.4"}
        shown = await asyncio.gather(
            seconds("a/call/work", **header),
            seconds("a/call/work", **header),  # waits for the first one
            seconds("b/call/hurry"),
            seconds("c/call/hurry", **{"GoVerse-Timeout": "9"}),
        )
        assert list(shown) == [0.4, 0.4, 0.2, 0.2]
    await node.stop()
    await store.close()


async def test_the_request_carries_its_deadline(gate: Serving) -> None:
    before = asyncio.get_running_loop().time()
    await gate.client.post(INCREMENT, headers={"GoVerse-Timeout": "7"})
    after = asyncio.get_running_loop().time()
    assert before + 7 <= gate.link.requests[0].deadline <= after + 7


@pytest.mark.parametrize("path", [INCREMENT, f"{INCREMENT}?"])  # the second one goes through ASGI
async def test_a_slow_call_is_answered(gate: Serving, path: str) -> None:
    gate.link.held = True
    call = asyncio.create_task(gate.client.post(path))
    await until(lambda: gate.link.requests)
    rounds = asyncio.get_running_loop().time() + 2 * PERIOD_S
    await until(lambda: asyncio.get_running_loop().time() > rounds)
    gate.link.release()
    assert (await call).text == "1"


async def test_a_waiting_call_of_a_disconnected_client_is_dropped(gate: Serving) -> None:
    gate.link.held = True
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, b"{}"))
        await until(lambda: gate.link.requests)
    await until(gate.link.waiters[0].done)
    gate.link.release()
    assert (await gate.client.get("/objects/Counter/c1")).status_code == 404
    await until(lambda: gate.app.objects.inflight == 0)
    assert 'status="client_gone"' in (await gate.client.get("/metrics")).text


async def test_a_link_that_cancels_a_request_makes_it_unavailable(gate: Serving) -> None:
    gate.link.held = True
    call = asyncio.create_task(gate.client.get("/objects/Counter/c1"))
    await until(lambda: gate.link.waiters)
    (future,) = gate.link.waiters
    assert isinstance(future, asyncio.Future)
    future.cancel()
    answer = await call
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


@pytest.mark.parametrize(("code", "status"), [("overloaded", 429), ("draining", 503), ("unavailable", 503)])
async def test_retryable_errors_have_a_retry_after(gate: Serving, code: str, status: int) -> None:
    gate.link.replies = lambda _: Reply(problem=Problem(code, "later", True))
    answer = await gate.client.post(INCREMENT)
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "1")


async def test_requests_above_the_limit_get_overloaded() -> None:
    async with serving(GateOptions(inflight_calls_max=3)) as gate:
        gate.link.held = True
        calls = [asyncio.create_task(gate.client.post(INCREMENT)) for _ in range(3)]
        await until(lambda: len(gate.link.requests) == 3)
        refused = await gate.client.post(INCREMENT)
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        gate.link.release()
        assert sorted([(await call).text for call in calls]) == ["1", "2", "3"]
