"""Tests of the check for breaking changes between two OpenAPI documents."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from goverse_cli.compatibility import breaks
from tests.tree import ROOT

pytestmark = pytest.mark.requirement("GATE-2")

Document = dict[str, Any]
SAMPLE: Document = json.loads((ROOT / "openapi" / "openapi.json").read_text(encoding="utf-8"))
CALL = "/objects/Wallet/{id}/call/deposit"
ARGUMENTS = "Wallet_deposit_arguments"


@pytest.fixture
def changed() -> Document:
    return copy.deepcopy(SAMPLE)


def _schema(document: Document, name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def _drop_path(document: Document) -> None:
    del document["paths"][CALL]


def _drop_operation(document: Document) -> None:
    del document["paths"]["/objects/Wallet/{id}"]["put"]


def _rename_operation(document: Document) -> None:
    document["paths"][CALL]["post"]["operationId"] = "Wallet_pay_in"


def _new_required_argument(document: Document) -> None:
    _schema(document, ARGUMENTS)["properties"]["currency"] = {"type": "string"}
    _schema(document, ARGUMENTS)["required"].append("currency")


def _argument_gone(document: Document) -> None:
    del _schema(document, "Auction_history_arguments")["properties"]["limit"]


def _argument_of_another_type(document: Document) -> None:
    _schema(document, ARGUMENTS)["properties"]["amount"]["type"] = "string"


def _argument_bounded(document: Document) -> None:
    _schema(document, ARGUMENTS)["properties"]["amount"]["maximum"] = 100


def _argument_never_null(document: Document) -> None:
    _schema(document, "Auction_create_arguments")["properties"]["lasts_s"] = {"type": "integer"}


def _body_required(document: Document) -> None:
    document["paths"]["/objects/Counter/{id}/call/increment"]["post"]["requestBody"]["required"] = True


def _parameter_required(document: Document) -> None:
    document["components"]["parameters"]["IdempotencyKey"]["required"] = True


def _parameter_gone(document: Document) -> None:
    document["paths"]["/objects/Wallet"]["get"]["parameters"].clear()


def _result_member_gone(document: Document) -> None:
    del _schema(document, "Statement")["properties"]["free"]
    _schema(document, "Statement")["required"].remove("free")


def _result_member_optional(document: Document) -> None:
    _schema(document, "Statement")["required"].remove("free")


def _result_member_null(document: Document) -> None:
    _schema(document, "Statement")["properties"]["free"] = {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def _result_wider(document: Document) -> None:
    answer = document["paths"]["/objects/Counter/{id}/call/increment"]["post"]["responses"]["200"]
    answer["content"]["application/json"]["schema"] = {"type": "number"}


def _result_anything(document: Document) -> None:
    answer = document["paths"]["/objects/Counter/{id}/call/increment"]["post"]["responses"]["200"]
    answer["content"]["application/json"]["schema"] = {}


def _nested_result(document: Document) -> None:
    _schema(document, "Lot")["properties"]["price"] = {"type": "string"}


def _status_gone(document: Document) -> None:
    responses = document["paths"][CALL]["post"]["responses"]
    responses["201"] = responses.pop("200")


def _header_gone(document: Document) -> None:
    del document["paths"][CALL]["post"]["responses"]["200"]["headers"]["ETag"]


BREAKING: dict[Callable[[Document], None], tuple[str, str]] = {
    _drop_path: (CALL, "the path was removed"),
    _drop_operation: ("PUT /objects/Wallet/{id}", "the operation was removed"),
    _rename_operation: (f"POST {CALL}", "operationId was 'Wallet_deposit' and is 'Wallet_pay_in'"),
    _new_required_argument: (f"POST {CALL}, body.currency", "it was optional and is required"),
    _argument_gone: ("POST /objects/Auction/{id}/call/history, body.limit", "the argument was removed"),
    _argument_of_another_type: (f"POST {CALL}, body.amount", "integer was accepted and is no longer accepted"),
    _argument_bounded: (f"POST {CALL}, body.amount", "maximum was 1000000000000 and is 100"),
    _argument_never_null: (
        "PUT /objects/Auction/{id}, body.lasts_s",
        "null was accepted and is no longer accepted",
    ),
    _body_required: ("POST /objects/Counter/{id}/call/increment, body", "the body is required now"),
    _parameter_required: (f"POST {CALL}, header Idempotency-Key", "the parameter is required now"),
    _parameter_gone: ("GET /objects/Wallet, query prefix", "the parameter was removed"),
    _result_member_gone: (f"POST {CALL} → 200.free", "the member was removed"),
    _result_member_optional: (f"POST {CALL} → 200.free", "it is optional and was required"),
    _result_member_null: (f"POST {CALL} → 200.free", "null can be returned and could not be returned before"),
    _result_wider: (
        "POST /objects/Counter/{id}/call/increment → 200",
        "number can be returned and could not be returned before",
    ),
    _result_anything: (
        "POST /objects/Counter/{id}/call/increment → 200",
        "array or boolean or null or number or object or string can be returned and could not be returned before",
    ),
    _nested_result: (
        "POST /objects/Catalogue/{id}/call/open_lots → 200[].price",
        "string can be returned and could not be returned before",
    ),
    _status_gone: (f"POST {CALL}", "status 200 is no longer returned"),
    _header_gone: (f"POST {CALL} → 200", "the header ETag was removed"),
}


def test_a_document_does_not_break_itself() -> None:
    assert breaks(SAMPLE, copy.deepcopy(SAMPLE)) == []


@pytest.mark.parametrize("change", BREAKING, ids=lambda change: change.__name__.strip("_"))
def test_a_breaking_change_is_named_with_its_place(changed: Document, change: Callable[[Document], None]) -> None:
    change(changed)
    assert BREAKING[change] in breaks(SAMPLE, changed)


def _new_path(document: Document) -> None:
    document["paths"]["/objects/Wallet/{id}/call/again"] = copy.deepcopy(document["paths"][CALL])


def _new_optional_argument(document: Document) -> None:
    _schema(document, ARGUMENTS)["properties"]["note"] = {"type": "string"}


def _argument_wider(document: Document) -> None:
    _schema(document, ARGUMENTS)["properties"]["amount"] = {"anyOf": [{"type": "number"}, {"type": "null"}]}


def _argument_optional(document: Document) -> None:
    _schema(document, ARGUMENTS)["required"].remove("amount")


def _bound_lifted(document: Document) -> None:
    del _schema(document, ARGUMENTS)["properties"]["amount"]["maximum"]


def _result_has_more(document: Document) -> None:
    _schema(document, "Statement")["properties"]["currency"] = {"type": "string"}


def _result_narrower(document: Document) -> None:
    _schema(document, "Sale")["properties"]["winner"] = {"type": "string"}


def _other_words(document: Document) -> None:
    document["info"]["version"] = "9"
    document["paths"][CALL]["post"]["summary"] = "Put money in."
    _schema(document, "Statement")["description"] = "What is there."


def _component_renamed(document: Document) -> None:
    schemas = document["components"]["schemas"]
    schemas["Account"] = schemas.pop("Statement")
    text = json.dumps(document).replace("#/components/schemas/Statement", "#/components/schemas/Account")
    document.update(json.loads(text))


@pytest.mark.parametrize(
    "change",
    [
        _new_path,
        _new_optional_argument,
        _argument_wider,
        _argument_optional,
        _bound_lifted,
        _result_has_more,
        _result_narrower,
        _other_words,
        _component_renamed,
    ],
    ids=lambda change: change.__name__.strip("_"),
)
def test_compatible_changes_are_not_reported(changed: Document, change: Callable[[Document], None]) -> None:
    change(changed)
    assert breaks(SAMPLE, changed) == []


def _result(schema: Any, schemas: dict[str, Any] | None = None) -> Document:
    answers = {"200": {"content": {"application/json": {"schema": schema}}}}
    return {
        "paths": {"/x": {"get": {"operationId": "x", "responses": answers}}},
        "components": {"schemas": schemas or {}},
    }


def _pair(first: str, second: str) -> Document:
    """Return the schema of a pair, in the form of an application's document."""
    both = [{"type": first}, {"type": second}]
    items = both[0] if first == second else {}
    return {"type": "array", "prefixItems": both, "items": items, "minItems": 2, "maxItems": 2}


@pytest.mark.parametrize(
    ("old", "new", "fine"),
    [
        ({"enum": ["a", "b"]}, {"enum": ["a"]}, True),
        ({"enum": ["a"]}, {"enum": ["a", "b"]}, False),
        ({"enum": ["a"]}, {"type": "string"}, False),
        ({"type": "string"}, {"const": "a"}, True),
        ({"type": ["string", "null"]}, {"type": "string"}, True),
        ({"type": "string"}, {"type": ["string", "null"]}, False),
        ({"type": "number"}, {"type": "integer"}, True),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            {"type": "object", "additionalProperties": {"type": "string"}},
            False,
        ),
        ({"type": "array", "items": {"type": "integer"}}, {"type": "array"}, False),
        (_pair("integer", "string"), _pair("integer", "string"), True),
        (_pair("number", "string"), _pair("integer", "string"), True),
        (_pair("integer", "string"), _pair("number", "string"), False),
        (_pair("integer", "string"), _pair("string", "integer"), False),
        (_pair("integer", "string"), {"type": "array", "items": {}, "minItems": 2, "maxItems": 2}, False),
        ({"type": "array", "items": {"type": "integer"}}, _pair("integer", "integer"), True),
        ({"type": "array", "items": {"type": "integer"}}, _pair("integer", "string"), False),
        ({"type": "string", "format": "date"}, {"type": "string"}, False),
        (True, {"type": "string"}, True),
        ({"oneOf": [{"$ref": "#/components/schemas/A"}]}, {"$ref": "#/components/schemas/A"}, True),
    ],
)
def test_results_may_become_narrower_only(old: Any, new: Any, fine: bool) -> None:
    schemas = {"A": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    assert (breaks(_result(old, schemas), _result(new, schemas)) == []) is fine


def test_schemas_that_contain_themselves_are_compared_once() -> None:
    def tree(value: str) -> Document:
        child = {"anyOf": [{"$ref": "#/components/schemas/Tree"}, {"type": "null"}]}
        schema = {"type": "object", "properties": {"value": {"type": value}, "left": child, "right": child}}
        return _result({"$ref": "#/components/schemas/Tree"}, {"Tree": schema})

    assert breaks(tree("string"), tree("string")) == []
    assert ("GET /x → 200.value", "string can be returned and could not be returned before") in breaks(
        tree("integer"), tree("string")
    )
