"""JSON Schemas of arguments, results and states, adapted for clients.

They differ from Pydantic's schemas in three ways. A field with a default is always written, so results and states
require it. The keys of a JSON object are strings, so an enum of numbers as keys is described by its digits. Every array
has ``items``, which client generators need: for a tuple with ``prefixItems`` it is the type of all items, or ``{}`` if
the types differ. A union of the types would be exact, but openapi-generator would turn it into a class in which callers
have to wrap each item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from typing import Any, Final, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from goverse.errors import MethodFailed
from goverse.model import json_values

JsonSchema = dict[str, Any]

REF_TEMPLATE: Final = "#/$defs/{model}"

_NUMBERS: Final = frozenset({"integer", "number", "boolean"})


class _ResultSchema(GenerateJsonSchema):
    """A schema generator that marks every field that a serializer always writes as required."""

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,  # name given by Pydantic
    ) -> bool:
        """True if the member is always present."""
        if self.mode == "serialization" and field["type"] != "typed-dict-field":
            return not (field.get("serialization_exclude") or field.get("serialization_exclude_if"))
        return super().field_is_required(field, total)


def arguments_schema(adapter: TypeAdapter[Any], ref_template: str) -> JsonSchema:
    """Return the schema of the arguments of a call."""
    return _finished(adapter.json_schema(ref_template=ref_template))


def result_schema(adapter: TypeAdapter[Any], ref_template: str) -> JsonSchema:
    """Return the schema of the response to a call or a read."""
    return _finished(
        adapter.json_schema(ref_template=ref_template, schema_generator=_ResultSchema, mode="serialization")
    )


def show_default(schema: JsonSchema, to_json: Callable[..., bytes], field: str, make: Callable[[], Any]) -> None:
    """Add the default to the schema of a field, unless it has no JSON form."""
    with suppress(MethodFailed, ValueError):
        [(name, default)] = json_values.decode(to_json({field: make()})).items()
        schema["properties"][name].setdefault("default", default)


def _finished(schema: JsonSchema) -> JsonSchema:
    definitions = cast("Mapping[str, JsonSchema]", schema.get("$defs", {}))
    finished = cast("JsonSchema", _adapted(schema, definitions))
    return _with_definitions(finished, finished.pop("$defs", {}))


def _adapted(node: Any, definitions: Mapping[str, JsonSchema]) -> Any:
    if isinstance(node, list):
        return [_adapted(item, definitions) for item in cast("list[object]", node)]
    if not isinstance(node, dict):
        return node
    members = cast("JsonSchema", node)
    adapted = {
        name: value if name in ("default", "const", "enum", "examples") else _adapted(value, definitions)
        for name, value in members.items()
    }
    if isinstance(adapted.get("propertyNames"), dict) and adapted.get("type") == "object":
        _describe_keys(adapted, definitions)
    if adapted.get("type") == "array" and "items" not in adapted:
        adapted["items"] = _type_of_all(adapted.get("prefixItems", []))
    return adapted


def _describe_keys(schema: JsonSchema, definitions: Mapping[str, JsonSchema]) -> None:
    names: JsonSchema = schema["propertyNames"]
    reference = names.get("$ref")
    if isinstance(reference, str):
        names = definitions.get(reference.rpartition("/")[2], names)
    choices = names.get("enum", [names["const"]] if "const" in names else [])
    if any(not isinstance(choice, str) for choice in choices):
        schema["propertyNames"] = {"enum": [_as_key(choice) for choice in choices], "type": "string"}
    elif names.get("type") in _NUMBERS:
        del schema["propertyNames"]


def _as_key(choice: Any) -> str:
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def _type_of_all(items: list[JsonSchema]) -> JsonSchema:
    """Return the common schema of all items of a fixed array, or ``{}``, which accepts any value."""
    return items[0] if items and all(item == items[0] for item in items) else {}


def referenced(part: object, definitions: Mapping[str, JsonSchema]) -> set[str]:
    """Return the names of the definitions that a part of a schema refers to, directly or through others."""
    found: set[str] = set()
    waiting = _references(part)
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in found:
            found.add(name)
            waiting.extend(_references(definitions[name]))
    return found


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        members = cast("JsonSchema", node)
        reference = members.get("$ref")
        own = [reference.rpartition("/")[2]] if isinstance(reference, str) else []
        return own + [name for value in members.values() for name in _references(value)]
    if isinstance(node, list):
        return [name for item in cast("list[object]", node) for name in _references(item)]
    return []


def without_members(schema: JsonSchema, hidden: Set[str]) -> JsonSchema:
    """Return the schema of an object without the ``hidden`` members and the definitions that only they use."""
    schema["properties"] = {name: each for name, each in schema.get("properties", {}).items() if name not in hidden}
    return _with_definitions(schema, schema.pop("$defs", {}))


def _with_definitions(schema: JsonSchema, definitions: Mapping[str, JsonSchema]) -> JsonSchema:
    """Add those of the definitions that the schema refers to."""
    used = referenced(schema, definitions)
    return {"$defs": {name: part for name, part in definitions.items() if name in used}, **schema} if used else schema
