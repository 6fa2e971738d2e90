"""Values over HTTP: invalid JSON, states that cannot be stored, and aliases."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from goverse import Object, call
from goverse.objects.registry import Registry
from goverse_gate.options import GateOptions
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.gate.serving import serving_link


class Animal(BaseModel):
    name: str = ""


class Dog(Animal):
    breed: str = "pug"


class Person(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    first_name: str
    weight: float | None = None


class Zoo(Object):
    animals: list[Animal] = []
    notes: dict[str, Any] = {}
    keeper: Person | None = None

    def on_create(self, notes: dict[str, Any] = {}) -> None:  # noqa: B006
        self.notes = notes

    @call
    async def adopt(self, *, dog: bool) -> int:
        self.animals.append(Dog(name="rex") if dog else Animal(name="rex"))
        return len(self.animals)

    @call
    async def note(self, value: Any) -> None:
        self.notes["value"] = value

    @call
    async def hire(self, person: Person) -> Person:
        self.keeper = person
        return person


@asynccontextmanager
async def _serving() -> AsyncIterator[httpx.AsyncClient]:
    registry, store = Registry([Zoo]), MemoryStore()
    await store.open()
    node = Node(registry, store)
    await node.start()
    try:
        async with serving_link(node, registry, GateOptions(access_log="off")) as (_, _, client):
            yield client
    finally:
        await node.stop(0.0)
        await store.close()


@pytest.mark.requirement("OBJ-13", "GATE-1")
async def test_a_state_that_would_load_differently_is_refused_without_an_effect() -> None:
    async with _serving() as client:
        before = await client.post("/objects/Zoo/1/call/adopt", json={"dog": False})
        assert before.status_code == 200
        refused = await client.post("/objects/Zoo/1/call/adopt", json={"dog": True})
        problem = refused.json()
        assert (refused.status_code, problem["code"], problem["retryable"]) == (500, "state_not_storable", False)
        assert problem["errors"][0]["path"] == "/animals/1"
        assert "Zoo.animals.1 would change when it is stored" in problem["detail"]
        assert "declare the subclass" in problem["detail"]
        state = await client.get("/objects/Zoo/1")
        assert (state.json()["animals"], state.headers["etag"]) == ([{"name": "rex"}], before.headers["etag"])
        assert (await client.post("/objects/Zoo/1/call/adopt", json={"dog": False})).json() == 2


@pytest.mark.requirement("OBJ-13", "GATE-9")
@pytest.mark.parametrize(
    "body",
    [b'{"value":NaN}', b'{"value":[1e999]}', b'{"value":{"a":-Infinity}}', b'{"value":1,"value":2}'],
)
async def test_a_body_that_is_not_json_is_malformed_in_calls_and_in_creations(body: bytes) -> None:
    async with _serving() as client:
        called = await client.post("/objects/Zoo/1/call/note", content=body)
        assert (called.status_code, called.json()["code"]) == (400, "malformed_request")
        created = await client.put("/objects/Zoo/2", content=b'{"notes":' + body + b"}")
        assert (created.status_code, created.json()["code"]) == (400, "malformed_request")
        hired = await client.post("/objects/Zoo/1/call/hire", content=b'{"person":{"firstName":"a","weight":NaN}}')
        assert (hired.status_code, hired.json()["code"]) == (400, "malformed_request")


@pytest.mark.requirement("OBJ-1", "GATE-1")
async def test_aliases_are_the_same_in_requests_answers_states_and_the_document() -> None:
    async with _serving() as client:
        person = {"firstName": "ann", "weight": None}
        hired = await client.post("/objects/Zoo/1/call/hire", json={"person": {"firstName": "ann"}})
        assert hired.json() == person
        assert (await client.get("/objects/Zoo/1")).json()["keeper"] == person
        schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
        assert schemas["Person"]["required"] == ["firstName", "weight"]
        assert schemas["Person_input"]["required"] == ["firstName"]


@pytest.mark.requirement("OBJ-13")
async def test_a_state_that_is_nested_too_deeply_is_a_clear_error() -> None:
    deep = b'{"value":' + b"[" * 150 + b"]" * 150 + b"}"
    deeper = b'{"value":' + b"[" * 200 + b"]" * 200 + b"}"
    async with _serving() as client:
        assert (await client.post("/objects/Zoo/1/call/note", content=deep)).status_code == 200
        refused = await client.post("/objects/Zoo/1/call/note", content=deeper)
        assert (refused.status_code, refused.json()["code"]) == (500, "method_failed")
        assert "nested deeper than 200 levels" in refused.json()["detail"]
        too_deep = await client.post("/objects/Zoo/1/call/note", content=b'{"value":' + b"[" * 300 + b"]" * 300 + b"}")
        assert too_deep.status_code == 400
        assert "nested deeper than 200 levels" in too_deep.json()["detail"]
