"""Access rules and views over HTTP, with a real node behind the gate."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from goverse import BusinessError, Object, call, field, handler, raises, view
from goverse.objects.registry import Registry
from goverse_gate.options import GateOptions
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.gate.serving import serving_link

EMBEDDED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}


class SeatsTaken(BusinessError):
    """A seat of the order is sold."""

    status = 409
    code = "seats_taken_over_http"


class StillPaid(BusinessError):
    """A paid order must be refunded before it is deleted."""

    status = 409
    code = "still_paid_over_http"


class OrderView(BaseModel):
    """The view of an order."""

    id: str
    seats: list[str]


class Order(Object, delete="anyone"):
    """An order."""

    seats: list[str]
    margin: int = 3

    @raises(SeatsTaken)
    async def on_create(self, seats: list[str], event: str = "") -> None:
        if "A1" in seats:
            raise SeatsTaken("A1 is sold")
        if event:
            await self.ref(Event, event).count()
        self.seats = seats

    @raises(StillPaid)
    async def on_delete(self) -> None:
        if len(self.seats) > 1:
            raise StillPaid

    @call
    async def pay(self) -> None: ...

    @handler
    async def paid(self, cents: int) -> None: ...

    @view
    def public(self) -> OrderView:
        return OrderView(id=self.id, seats=self.seats)


class Event(Object, create="internal"):
    sold: int = 0
    password: str = field(default="s3cret", hidden=True)

    @call
    async def count(self) -> int:
        return self.sold


@asynccontextmanager
async def _release(store: MemoryStore, *classes: type[Any]) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a release of the application from ``store``."""
    registry = Registry(list(classes))
    node = Node(registry, store)
    await node.start()
    try:
        async with serving_link(node, registry, GateOptions(access_log="off")) as (_, _, http):
            yield http
    finally:
        await node.stop(0.0)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Serve orders and events."""
    store = MemoryStore()
    await store.open()
    try:
        async with _release(store, Order, Event) as http:
            yield http
    finally:
        await store.close()


def _is(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    return problem


@pytest.mark.requirement("OBJ-14")
@pytest.mark.parametrize("path", ["paid", "%70aid"])
async def test_a_handler_is_refused_and_not_documented(client: httpx.AsyncClient, path: str) -> None:
    refused = _is(await client.post(f"/objects/Order/o/call/{path}", json={"cents": 1}), 403, "access_denied")
    assert refused["detail"].startswith("Order.paid is a handler")
    unknown = _is(await client.post("/objects/Order/o/call/nothing"), 404, "unknown_method")
    assert "paid" not in unknown["detail"]
    document = (await client.get("/openapi.json")).text
    assert "call/pay" in document
    assert "call/paid" not in document
    assert "cents" not in document


@pytest.mark.requirement("OBJ-14", "GATE-1")
async def test_a_read_shows_the_view_and_the_document_describes_it(client: httpx.AsyncClient) -> None:
    created = await client.put("/objects/Order/o", json={"seats": ["B1"]})
    assert created.json() == {"id": "o", "version": 1}
    shown = await client.get("/objects/Order/o")
    assert shown.json() == {"id": "o", "seats": ["B1"]}
    unchanged = await client.get("/objects/Order/o", headers={"If-None-Match": shown.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")

    document = (await client.get("/openapi.json")).json()
    schema = document["paths"]["/objects/Order/{id}"]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    described = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    assert list(described["properties"]) == ["id", "seats"]
    assert "margin" not in str(document)


@pytest.mark.requirement("OBJ-14", "GATE-1")
async def test_a_hidden_field_is_never_shown(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).text
    assert "password" not in document
    assert "s3cret" not in document


class _Open(Object, name="Note"):
    text: str = "hello"
    author: str = "ann"

    @call
    async def write(self, text: str) -> None:
        self.text = text


class _Discreet(Object, name="Note"):
    text: str = "hello"
    author: str = field(default="ann", hidden=True)

    @call
    async def write(self, text: str) -> None:
        self.text = text


@pytest.mark.requirement("OBJ-14", "GATE-1")
@pytest.mark.parametrize(("before", "after"), [(_Open, _Discreet), (_Discreet, _Open)])
async def test_hiding_or_showing_a_field_changes_the_tag(before: type[Any], after: type[Any]) -> None:
    store = MemoryStore()
    await store.open()
    async with _release(store, before) as http:
        await http.post("/objects/Note/n/call/write", json={"text": "hello"})
        old = await http.get("/objects/Note/n")
    async with _release(store, after) as http:
        new = await http.get("/objects/Note/n", headers={"If-None-Match": old.headers["etag"]})
        assert new.status_code == 200
        assert new.json() != old.json()
        assert new.headers["etag"] != old.headers["etag"]
        same = await http.get("/objects/Note/n", headers={"If-None-Match": new.headers["etag"]})
        assert same.status_code == 304
        written = await http.post(
            "/objects/Note/n/call/write", json={"text": "bye"}, headers={"If-Match": new.headers["etag"]}
        )
        assert written.status_code == 200
    await store.close()


@pytest.mark.requirement("OBJ-14", "GATE-1")
async def test_create_and_delete_are_documented_only_if_allowed(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert sorted(paths["/objects/Order/{id}"]) == ["delete", "get", "put"]
    assert sorted(paths["/objects/Event/{id}"]) == ["get"]
    assert sorted(paths["/objects/Event"]) == ["get"]
    for answer in (
        await client.put("/objects/Event/e"),
        await client.post("/objects/Event"),
        await client.put("/objects/Event/e", headers={"If-None-Match": "*"}),
    ):
        refused = _is(answer, 403, "access_denied")
        assert refused["setting"] == "objects.Event.create"
        assert "add create='anyone' to the options of class Event" in refused["detail"]
    assert _is(await client.delete("/objects/Event/e"), 403, "access_denied")["setting"] == "objects.Event.delete"
    _is(await client.post("/objects/Event/e/call/count"), 404, "object_not_found")


@pytest.mark.requirement("OBJ-14", "GATE-1")
async def test_every_denial_names_its_rule_and_its_setting(client: httpx.AsyncClient) -> None:
    foreign = {"Origin": "https://elsewhere.example"}
    refusals = [
        (await client.post("/objects/Order/o/call/paid", json={"cents": 1}), "handler", None, "@call"),
        (await client.put("/objects/Event/e"), "create", "objects.Event.create", "create='anyone'"),
        (await client.delete("/objects/Event/e"), "delete", "objects.Event.delete", "delete='anyone'"),
        (await client.get("/objects/Order", headers={"Host": "other.example"}), "host", "gate.allowed_hosts", "add it"),
        (await client.get("/objects/Order", headers=foreign), "origin", "gate.allowed_origins", "add it"),
        (await client.get("/objects/Order", headers=EMBEDDED), "origin", "gate.allowed_origins", "add its origin"),
        (await client.get("/admin/log-level"), "admin", "gate.admin_token_file", "write one"),
    ]
    schema = (await client.get("/openapi.json")).json()["components"]["schemas"]["Problem"]["properties"]
    for answer, rule, setting, how in refusals:
        refused = _is(answer, 403, "access_denied")
        assert (refused["rule"], refused.get("setting")) == (rule, setting)
        assert how in refused["detail"]
        assert {"rule", "setting"} <= schema.keys()


@pytest.mark.requirement("OBJ-14", "OBS-1")
async def test_denials_are_counted_by_setting_or_rule(client: httpx.AsyncClient) -> None:
    await client.put("/objects/Event/e")
    await client.delete("/objects/Event/e")
    await client.delete("/objects/Event/f")
    await client.post("/objects/Order/o/call/paid", json={"cents": 1})

    metrics = (await client.get("/metrics")).text
    for reason, count in (("objects.Event.create", 1), ("objects.Event.delete", 2), ("handler", 1)):
        assert f'goverse_access_denied_total{{reason="{reason}"}} {count}.0' in metrics


@pytest.mark.requirement("OBJ-14", "OBJ-4", "GATE-1")
async def test_errors_of_a_hook_are_documented_with_the_request_that_runs_it(client: httpx.AsyncClient) -> None:
    _is(await client.put("/objects/Order/o", json={"seats": ["A1"]}), 409, "seats_taken_over_http")
    await client.put("/objects/Order/o", json={"seats": ["B1", "B2"]})
    _is(await client.delete("/objects/Order/o"), 409, "still_paid_over_http")

    document = (await client.get("/openapi.json")).json()["paths"]
    of_put = document["/objects/Order/{id}"]["put"]["responses"]["409"]["description"]
    of_post = document["/objects/Order"]["post"]["responses"]["409"]["description"]
    of_delete = document["/objects/Order/{id}"]["delete"]["responses"]["409"]["description"]
    assert "`seats_taken_over_http`: A seat of the order is sold." in of_put
    assert "`seats_taken_over_http`" in of_post
    assert "`still_paid_over_http`" in of_delete


@pytest.mark.requirement("OBJ-3")
async def test_a_put_with_other_arguments_is_a_conflict(client: httpx.AsyncClient) -> None:
    first = await client.put("/objects/Order/o", json={"seats": ["B1"]})
    again = await client.put("/objects/Order/o", content=b'{ "seats" : [ "B1" ] }')
    assert (first.status_code, again.status_code, again.json()) == (201, 200, {"id": "o", "version": 1})
    other = _is(await client.put("/objects/Order/o", json={"seats": ["B2"]}), 409, "object_exists")
    assert "created with other arguments" in other["detail"]
    _is(
        await client.put("/objects/Order/o", json={"seats": ["B1"]}, headers={"If-None-Match": "*"}),
        409,
        "object_exists",
    )


@pytest.mark.requirement("GATE-1")
@pytest.mark.parametrize("null", [b"null", b"null\n"])  # the second one is what Go's encoder writes
async def test_a_body_of_null_means_no_arguments_in_every_request(client: httpx.AsyncClient, null: bytes) -> None:
    await client.put("/objects/Order/o", json={"seats": ["B1"]})
    for path in ("/objects/Order/o/call/pay", "/objects/Order/o/call/pay?"):
        for key in ({}, {"Idempotency-Key": f"k{path[-1]}"}):
            answers = [await client.post(path, content=body, headers=key) for body in (null, b"{}", b"", null)]
            assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"null")] * 4
            assert [("idempotency-replayed" in answer.headers) for answer in answers[1:]] == [bool(key)] * 3
    for answer in (
        await client.put("/objects/Order/p", content=null),
        await client.post("/objects/Order", content=null),
    ):
        refused = _is(answer, 422, "invalid_arguments")
        assert [problem["path"] for problem in refused["errors"]] == ["/seats"]
    assert (await client.request("DELETE", "/objects/Order/o", content=null)).status_code == 204
    body = (await client.get("/openapi.json")).json()["paths"]["/objects/Order/{id}/call/pay"]["post"]["requestBody"]
    assert (body["required"], "`null`" in body["description"]) == (False, True)


@pytest.mark.requirement("OBJ-3", "OBJ-9")
async def test_an_id_of_a_missing_object_is_a_valid_argument(client: httpx.AsyncClient) -> None:
    missing = _is(await client.put("/objects/Order/o", json={"seats": [], "event": "typo"}), 404, "object_not_found")
    assert missing["object"] == "Event/typo"
    _is(await client.put("/objects/Order/o", json={"seats": [], "event": "watch"}), 400, "malformed_request")
    _is(await client.get("/objects/Order/o"), 404, "object_not_found")


@pytest.mark.requirement("OBJ-3", "GATE-1")
@pytest.mark.parametrize("reserved", ["watch", "changes", "query", "%77atch"])
async def test_a_reserved_id_is_refused_by_every_request(client: httpx.AsyncClient, reserved: str) -> None:
    url = f"/objects/Order/{reserved}"
    for answer in (
        await client.get(url),
        await client.put(url, json={"seats": []}),
        await client.delete(url),
        await client.post(f"{url}/call/pay"),
    ):
        assert "is reserved" in _is(answer, 400, "malformed_request")["detail"]
