"""Turns over HTTP: calls do not affect each other, and each caller has its own deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import httpx
import pytest

from goverse import BusinessError, Object, call
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse.objects.registry import Registry
from goverse_gate.app import GateApp
from goverse_gate.options import GateOptions
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.gate.serving import serving_link
from tests.gate.wire import connected, request
from tests.nodes import Meeting

PLACE = Meeting()
tenant = ContextVar("tenant", default="none")


class Taken(BusinessError):
    """Taken."""

    status = 409
    code = "taken_over_http"


class Desk(Object, delete="anyone"):
    uses: int = 0

    @call
    def plain(self, name: str) -> str:
        tenant.set(name)
        return tenant.get()

    @call
    async def later(self, name: str) -> str:
        tenant.set(name)
        await asyncio.sleep(0)
        return tenant.get()

    @call
    async def look(self) -> str:
        return tenant.get()

    @call
    def look_plainly(self) -> str:
        return tenant.get()

    @call
    async def slow(self) -> int:
        self.uses += 1
        await PLACE.wait("slow")
        return self.uses

    @call(raises=(Taken,))
    async def fan_out(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ref("Desk", "other").refuse())

    @call(raises=(Taken,))
    async def refuse(self) -> None:
        raise Taken


@pytest.fixture(autouse=True)
def fresh_place() -> None:
    global PLACE  # noqa: PLW0603
    PLACE = Meeting()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[GateApp, MemoryStore, httpx.AsyncClient, str]]:
    registry, store = Registry([Desk]), MemoryStore()
    await store.open()
    node = Node(registry, store)
    await node.start()
    try:
        async with serving_link(node, registry, GateOptions()) as (app, server, client):
            yield app, store, client, server.url
    finally:
        await node.stop(1.0)
        await store.close()


@pytest.mark.parametrize("method", ["plain", "later"])
@pytest.mark.requirement("OBJ-2")
async def test_context_variables_of_a_method_do_not_leak_to_other_connections(method: str) -> None:
    async with serving() as (app, _, _, url):

        @app.get("/tenant")
        async def page() -> str:  # pyright: ignore[reportUnusedFunction]
            return tenant.get()

        async with connected(url) as first, connected(url) as second:
            await first.send(request("POST", f"/objects/Desk/1/call/{method}", b'{"name":"ann"}'))
            assert (await first.answer()).body == b'"ann"'
            for wire in (first, second):
                for path in ("2/call/look", "2/call/look_plainly", "1/call/look", "1/call/look_plainly"):
                    await wire.send(request("POST", f"/objects/Desk/{path}"))
                    assert (await wire.answer()).body == b'"none"'
                await wire.send(request("GET", "/tenant"))
                assert (await wire.answer()).body == b'"none"'


@pytest.mark.requirement("GATE-6", "DUR-2")
async def test_a_follower_with_the_same_key_keeps_its_own_deadline() -> None:
    async with serving() as (_, _, client, _):
        path = "/objects/Desk/1/call/slow"
        hasty = asyncio.create_task(client.post(path, headers={"Idempotency-Key": "k", "GoVerse-Timeout": "0.2"}))
        await PLACE.reached("slow")
        patient = asyncio.create_task(client.post(path, headers={"Idempotency-Key": "k"}))
        timed_out = (await hasty).json()
        assert (timed_out["status"], timed_out["code"], timed_out["seconds"]) == (504, "timeout", 0.2)
        assert "idempotency-replayed" not in (await hasty).headers
        retry = asyncio.create_task(client.post(path, headers={"Idempotency-Key": "k"}))
        await asyncio.sleep(0)
        PLACE.let_go("slow")
        assert [(await each).text for each in (patient, retry)] == ["1", "1"]
        assert PLACE.happened == ["slow"]


@pytest.mark.requirement("OBJ-11")
async def test_an_invalid_state_is_a_clear_error_and_can_be_deleted() -> None:
    async with serving() as (_, store, client, _):
        key = ObjectKey("default", "Desk", "broken")
        await store.commit([CommitRecord(key, 0, 1, b'{"uses":"many"}', 1, 0)])
        answers = [
            await client.post("/objects/Desk/broken/call/look"),
            await client.get("/objects/Desk/broken"),
            await client.put("/objects/Desk/broken"),
        ]
        for answer in answers:
            problem = answer.json()
            assert (answer.status_code, problem["code"], problem["retryable"]) == (500, "state_invalid", False)
            assert [wrong["path"] for wrong in problem["errors"]] == ["/uses"]
            assert "goverse dump" in problem["detail"]
        assert (await client.delete("/objects/Desk/broken")).status_code == 204
        assert (await client.post("/objects/Desk/broken/call/look")).status_code == 200


@pytest.mark.requirement("OBJ-2")
async def test_a_refusal_in_a_task_group_has_its_own_status() -> None:
    async with serving() as (_, _, client, _):
        answer = await client.post("/objects/Desk/1/call/fan_out")
        assert (answer.status_code, answer.json()["code"]) == (409, "taken_over_http")
