"""Examples generated from schemas, so that "Try it out" in Swagger UI starts with a valid request.

A schema's own example or default is preferred. If no valid value can be generated (with a pattern, for example), the
document has no example.
"""

from __future__ import annotations

from typing import Any, Final, cast

from goverse_gate.openapi.components import Components, Schema

_DEPTH_MAX: Final = 8
_ITEMS_MAX: Final = 16

_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "01890a5d-ac96-774b-bcce-b302099a8057",
}


class NoExample(Exception):
    """No valid value can be generated for a schema."""


def example_of(schema: Schema, components: Components, depth: int = 0) -> Any:
    """Return a value that fits ``schema``.

    Raises:
        NoExample: none can be generated.
    """
    if depth > _DEPTH_MAX:
        raise NoExample
    schema = {**components.resolve(schema), **{key: value for key, value in schema.items() if key != "$ref"}}
    if schema.get("examples"):
        return schema["examples"][0]
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return _first(schema[word], components, depth)
    if "allOf" in schema:
        raise NoExample
    return _of_type(schema, components, depth)


def _first(choices: list[Schema], components: Components, depth: int) -> Any:
    for choice in choices:
        try:
            return example_of(choice, components, depth + 1)
        except NoExample:
            continue
    raise NoExample


def _of_type(schema: Schema, components: Components, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, components, depth)
    if kind == "array":
        return _array(schema, components, depth)
    if kind == "string":
        return _string(schema)
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "boolean":
        return True
    if kind == "null" or kind is None:
        return None
    raise NoExample


def _object(schema: Schema, components: Components, depth: int) -> dict[str, Any]:
    required = set(cast("list[str]", schema.get("required", [])))
    values: dict[str, Any] = {}
    for name, member in cast("dict[str, Schema]", schema.get("properties", {})).items():
        try:
            values[name] = example_of(member, components, depth + 1)
        except NoExample:
            if name in required:
                raise
    if len(values) < schema.get("minProperties", 0):
        raise NoExample
    return values


def _array(schema: Schema, components: Components, depth: int) -> list[Any]:
    fewest = schema.get("minItems", 0)
    if "prefixItems" in schema:
        return [example_of(item, components, depth + 1) for item in schema["prefixItems"]]
    if schema.get("maxItems") == 0 or fewest > _ITEMS_MAX or (fewest > 1 and schema.get("uniqueItems")):
        if fewest:
            raise NoExample
        return []
    try:
        return [example_of(schema.get("items", {}), components, depth + 1)] * max(1, fewest)
    except NoExample:
        if fewest:
            raise
        return []


def _string(schema: Schema) -> str:
    if "pattern" in schema or schema.get("contentEncoding"):
        raise NoExample
    text: str = _FORMATS.get(schema.get("format", ""), "string")
    fewest, most = schema.get("minLength", 0), schema.get("maxLength", len(text))
    if "format" in schema and schema["format"] not in _FORMATS:
        raise NoExample
    return text.ljust(fewest, "x")[: max(most, fewest)]


def _number(schema: Schema) -> int | float:
    lowest = schema.get("minimum")
    if lowest is None and "exclusiveMinimum" in schema:
        lowest = schema["exclusiveMinimum"] + 1
    highest = schema.get("maximum")
    if highest is None and "exclusiveMaximum" in schema:
        highest = schema["exclusiveMaximum"] - 1
    value = 1 if lowest is None else max(1, lowest)
    if highest is not None:
        value = min(value, highest)
    step = schema.get("multipleOf")
    if step:
        value = step * -(-value // step)
    if (lowest is not None and value < lowest) or (highest is not None and value > highest):
        raise NoExample
    return cast("int | float", value)
