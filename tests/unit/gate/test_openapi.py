"""The OpenAPI document is valid, typed and deterministic, and keeps different models with one name apart."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel

from goverse import Object, call
from goverse.model.call_status import CallStatus
from goverse.model.effects import SentCall
from goverse.model.frames import Problem
from goverse.model.keys import ObjectKey
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse_gate.app import create_app
from goverse_gate.openapi.components import Components
from goverse_gate.openapi.document import ApiDocument, with_article
from goverse_gate.openapi.examples import NoExample, example_of
from tests.gate.serving import new_link


def made() -> dict[str, Any]:
    link = new_link()
    return create_app(link, describe(link.registry)).openapi()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return made()


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


@pytest.mark.requirement("GATE-1")
def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_the_same_classes_give_the_same_bytes(document: dict[str, Any]) -> None:
    assert json.dumps(document) == json.dumps(made())


@pytest.mark.requirement("GATE-1")
def test_each_method_has_a_path_of_its_own_with_schemas(document: dict[str, Any]) -> None:
    operation = document["paths"]["/objects/Counter/{id}/call/increment"]["post"]
    assert operation["operationId"] == "Counter_increment"
    assert operation["summary"] == "Add to the counter."
    assert operation["requestBody"]["required"] is False
    content = operation["requestBody"]["content"]["application/json"]
    assert resolved(document, content["schema"])["properties"]["by"]["type"] == "integer"
    assert content["example"] == {"by": 1}
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["type"] == "integer"


def test_a_body_is_required_where_an_argument_is(document: dict[str, Any]) -> None:
    assert document["paths"]["/objects/Room/{id}/call/say"]["post"]["requestBody"]["required"]
    assert document["paths"]["/objects/Room"]["post"]["requestBody"]["required"]
    assert not document["paths"]["/objects/Counter"]["post"]["requestBody"]["required"]


def test_business_errors_are_documented_by_status(document: dict[str, Any]) -> None:
    responses = document["paths"]["/objects/Counter/{id}/call/withdraw"]["post"]["responses"]
    assert "insufficient_funds" in responses["402"]["description"]
    assert "402" not in document["paths"]["/objects/Counter/{id}/call/increment"]["post"]["responses"]


def test_a_mistaken_call_id_is_documented_where_turns_can_send(document: dict[str, Any]) -> None:
    def conflicts(operation: dict[str, Any]) -> str:
        return str(resolved(document, operation["responses"].get("409", {"description": ""}))["description"])

    paths = document["paths"]
    called, one = paths["/objects/Room/{id}/call/say"]["post"], paths["/objects/Room/{id}"]
    for operation in (called, paths["/objects/Room"]["post"], one["put"], one["delete"]):
        assert "`call_id_mismatch`" in conflicts(operation)
    assert "`call_id_mismatch`" not in conflicts(one["get"])
    text = json.dumps(document)
    for code in ("call_forgotten", "out_of_order"):
        assert code not in text, "only the sender of a delivery gets it"


@pytest.mark.requirement("GATE-11")
def test_each_call_can_be_answered_before_it_runs(document: dict[str, Any]) -> None:
    called = document["paths"]["/objects/Counter/{id}/call/increment"]["post"]
    names = {resolved(document, parameter)["name"] for parameter in called["parameters"]}
    assert {"Prefer", "GoVerse-Delay"} <= names
    accepted = resolved(document, called["responses"]["202"])
    assert {"Location", "Preference-Applied", "Retry-After"} <= set(accepted["headers"])
    status = resolved(document, accepted["content"]["application/json"]["schema"])
    key = ObjectKey("default", "Counter", "c1")
    sent = SentCall("c_7", key, "increment", b"", expires_ms=1_000)
    for shown in (CallStatus(sent, key), CallStatus(sent, key, "dead", problem=Problem("timeout", "late"))):
        Draft202012Validator(status).validate(json.loads(shown.encode()))
    assert set(status["properties"]) == set(CallStatus(sent, key).members())


@pytest.mark.requirement("GATE-11")
def test_the_document_has_the_routes_of_reliable_calls(document: dict[str, Any]) -> None:
    found = {
        (verb.upper(), path.replace("{id}", "c1"))
        for path, item in document["paths"].items()
        for verb in item
        if path.startswith(("/calls", "/dead-letters"))
    }
    assert found == {
        ("GET", "/calls"),
        ("GET", "/calls/c1"),
        ("DELETE", "/calls/c1"),
        ("GET", "/calls/c1/result"),
        ("POST", "/calls/c1/retry"),
        ("POST", "/calls/c1/skip"),
        ("POST", "/calls/pause"),
        ("POST", "/calls/resume"),
        ("POST", "/calls/cleanup"),
        ("GET", "/dead-letters"),
        ("POST", "/dead-letters/c1/redrive"),
        ("POST", "/dead-letters/redrive"),
    }
    result = document["paths"]["/calls/{id}/result"]["get"]["responses"]
    assert "`call_pending`" in resolved(document, result["409"])["description"]
    assert "4XX" in result, "a business error has a status of the application"
    assert "`call_not_found`" in resolved(document, result["404"])["description"]


class CallPage(BaseModel):
    number: int


class Book(Object):
    @call
    async def page(self) -> CallPage:
        return CallPage(number=1)


def test_a_model_of_the_application_can_have_the_name_of_a_page_of_calls() -> None:
    paths = ApiDocument(describe(Registry([Book]))).as_json("Books", "1")["paths"]
    content = paths["/objects/Book/{id}/call/page"]["post"]["responses"]["200"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Book_page_CallPage"}


def test_operation_ids_are_short_and_unique_even_for_methods_named_like_operations(document: dict[str, Any]) -> None:
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if "operationId" in operation
    ]
    assert len(ids) == len(set(ids))
    assert {"Store_get", "Store_put", "Store_call_get", "Store_call_put"} <= set(ids)


def test_two_models_with_one_name_stay_separate(document: dict[str, Any]) -> None:
    def item_of(path: str) -> dict[str, Any]:
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        return resolved(document, resolved(document, body)["properties"]["item"])

    assert set(item_of("/objects/Room/{id}/call/say")["properties"]) == {"author", "text", "kind", "day"}
    assert set(item_of("/objects/Store/{id}/call/put")["properties"]) == {"part"}


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    checked = 0
    for item in document["paths"].values():
        for operation in item.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for content in (resolved(document, body).get("content", {}).get("application/json", {}) for body in bodies):
                if "example" in content:
                    schema = {**content["schema"], "components": document["components"]}
                    Draft202012Validator(schema).validate(content["example"])
                    checked += 1
    assert checked > 20


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 9},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": 10, "multipleOf": 7},
        {"type": "integer", "exclusiveMaximum": 0},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
        {"type": "array", "items": {"type": "string", "pattern": "x"}},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "items": False},
        {"type": "object", "properties": {"a": {"enum": ["x"]}, "b": {"const": 4}}, "required": ["a"]},
        {"anyOf": [{"type": "string", "pattern": "x"}, {"type": "null"}]},
        {"type": "integer", "examples": [42]},
        {},
    ],
)
def test_an_example_matches_its_schema(schema: dict[str, Any]) -> None:
    assert Draft202012Validator(schema).is_valid(example_of(schema, Components({})))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^x$"},
        {"type": "integer", "minimum": 5, "maximum": 5, "multipleOf": 3},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}, "required": ["a"]},
        {"type": "array", "items": {"type": "integer"}, "minItems": 2, "uniqueItems": True},
        {"$ref": "#/components/schemas/Loop"},
    ],
)
def test_a_schema_without_a_possible_example_has_none(schema: dict[str, Any]) -> None:
    loop = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Loop"}}, "required": ["next"]}
    with pytest.raises(NoExample):
        example_of(schema, Components({"Loop": loop}))


def test_equal_definitions_share_a_component_and_recursive_ones_work() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    components = Components({"Problem": {"type": "object"}})
    source = {"$ref": "#/$defs/Node", "$defs": {"Node": node}}
    assert components.inline(source, "A") == components.inline(source, "B") == {"$ref": "#/components/schemas/Node"}
    assert components.schemas["Node"]["properties"]["next"] == {"$ref": "#/components/schemas/Node"}


def test_a_schema_on_its_own_and_the_equal_definition_are_one_component() -> None:
    bid = {"title": "Bid", "type": "object", "properties": {"by": {"type": "string"}}}
    components = Components({})
    referring = {"type": "array", "items": {"$ref": "#/$defs/Bid"}, "$defs": {"Bid": bid}}
    assert components.inline(referring, "Auction_history")["items"] == components.named("Bid", bid, "Auction_bid")
    assert list(components.schemas) == ["Bid"]


def test_schemas_of_one_title_that_differ_have_titles_of_their_own() -> None:
    components = Components({})
    one = {"title": "Item", "type": "object", "properties": {"price": {"type": "integer"}}}
    other = {"title": "Item", "type": "object", "properties": {"weight": {"type": "number"}}}
    components.named("Item", one, "Shop_sell")
    components.named("Item", {**other, "$defs": {"Item": one}}, "Post_send")
    assert {name: schema["title"] for name, schema in components.schemas.items()} == {"Item": "Item", "Item_": "Item_"}
    assert components.named("Item", other, "Post_send") == {"$ref": "#/components/schemas/Post_send_Item"}


def test_a_users_definition_never_gets_the_name_of_a_gate_schema() -> None:
    components = Components({"Problem": {"type": "object"}})
    theirs = {"$ref": "#/$defs/Problem", "$defs": {"Problem": {"type": "string"}}}
    assert components.inline(theirs, "Quiz_ask") == {"$ref": "#/components/schemas/Quiz_ask_Problem"}
    assert components.schemas["Problem"] == {"type": "object"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Auction", "an Auction"), ("Order", "an Order"), ("User", "a User"), ("Cart", "a Cart"), ("Hour", "an Hour")],
)
def test_a_type_has_its_article_in_summaries(name: str, shown: str) -> None:
    assert with_article(name) == shown


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Seat(BaseModel):
    number: int
    until: str = ""


class Show(Object):
    seats: dict[str, Seat] = {}
    players: dict[Level, str] = {}
    spot: tuple[int, int] = (0, 0)
    marks: tuple[()] = ()

    @call
    async def nothing(self) -> None: ...

    @call
    async def book(self, seat: Seat, level: Level = Level.LOW) -> Seat:
        return seat

    @call
    async def counts(
        self,
        flags: dict[bool, int] = {},  # noqa: B006
        numbers: dict[Literal["a", "b"], int] = {},  # noqa: B006
    ) -> dict[Level, tuple[int, str]]:
        return {}


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    return ApiDocument(describe(Registry([Show])), {}).as_json("Shows", "1")


def _result(document: dict[str, Any], method: str) -> dict[str, Any]:
    operation = document["paths"][f"/objects/Show/{{id}}/call/{method}"]["post"]
    schema: dict[str, Any] = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return schema


@pytest.mark.requirement("GATE-1")
def test_a_response_has_every_field_and_a_request_can_omit_some(shown: dict[str, Any]) -> None:
    schemas = shown["components"]["schemas"]

    assert _result(shown, "book") == {"$ref": "#/components/schemas/Seat"}
    assert schemas["Show_state"]["properties"]["seats"]["additionalProperties"] == {"$ref": "#/components/schemas/Seat"}
    assert schemas["Seat"]["required"] == ["number", "until"]
    assert schemas["Show_book_arguments"]["properties"]["seat"] == {"$ref": "#/components/schemas/Seat_input"}
    assert schemas["Seat_input"]["required"] == ["number"]
    assert {schemas[name]["title"] for name in ("Seat", "Seat_input")} == {"Seat", "Seat_input"}


@pytest.mark.requirement("GATE-1")
def test_keys_are_described_as_strings(shown: dict[str, Any]) -> None:
    schemas = shown["components"]["schemas"]
    players = schemas["Show_state"]["properties"]["players"]
    arguments = schemas["Show_counts_arguments"]["properties"]

    assert players["propertyNames"] == {"enum": ["1", "2"], "type": "string"}
    assert _result(shown, "counts")["propertyNames"] == {"enum": ["1", "2"], "type": "string"}
    assert "propertyNames" not in arguments["flags"]
    assert arguments["numbers"]["propertyNames"] == {"enum": ["a", "b"]}
    assert schemas["Show_book_arguments"]["properties"]["level"]["default"] == 1


@pytest.mark.requirement("GATE-1")
def test_client_generators_find_a_type_for_every_schema(shown: dict[str, Any]) -> None:
    state = shown["components"]["schemas"]["Show_state"]

    assert "type" not in _result(shown, "nothing")
    assert state["properties"]["spot"]["items"] == {"type": "integer"}
    assert state["properties"]["marks"]["items"] == {}
    pair = _result(shown, "counts")["additionalProperties"]
    assert pair["prefixItems"] == [{"type": "integer"}, {"type": "string"}]
    assert pair["items"] == {}, "openapi-generator makes a class of a union, which callers must wrap each item in"
