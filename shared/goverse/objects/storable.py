"""Static analysis of declared types, based on Pydantic's core schema.

``examine`` finds types whose values can never be written as JSON and read back unchanged; a class with such a field,
parameter or result is rejected when it is compiled. Problems that depend on the value (a subclass in a list, a union
with similar members) are found by ``goverse.objects.fidelity``, before a state is committed and before arguments or a
result are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final, NamedTuple, cast

from pydantic_core import SchemaSerializer, SchemaValidator

Node = Mapping[str, Any]

_BYTES: Final[Any] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}
# Members of a node that hold a schema for the same value
_SAME_VALUE: Final = ("schema", "lax_schema", "json_schema")
_CONTAINERS: Final = frozenset(
    {"tuple", "list", "set", "frozenset", "deque", "dict", "model", "dataclass", "typed-dict", "named-tuple", "json"}
)
_SAMPLES: Final[dict[str, list[Any]]] = {
    "none": [None],
    "bool": [True],
    "bytes": [b"\xff\x00"],
    "complex": [1j],
    "date": [date(2026, 1, 2)],
    "datetime": [datetime(2026, 1, 2, 3, 4, 5, 6)],  # noqa: DTZ001  # a key without a time zone
    "time": [time(1, 2, 3, 4)],
    "timedelta": [timedelta(days=1, microseconds=5)],
}
_NEVER_JSON: Final = {
    "callable": "a function has no JSON form; declare a str that names it",
    "is-subclass": "a class has no JSON form; declare a str that names it",
    "is-instance": "values of this class have no JSON form; declare a dataclass or a model with their data",
    "generator": "an iterator is used up when it is written; declare a list",
    "json": "pydantic.Json is written as the parsed value and cannot be read back; declare the parsed type",
}
_WRITTEN: Final = frozenset({"generator", "json"})  # of these, JSON shows the value
_PLAIN: Final = frozenset(
    {"int", "str", "bool", "none", "float", "bytes", "nullable", "default", "list", "dict", "set", "frozenset", "tuple"}
    | {"enum", "literal", "date", "datetime", "time", "timedelta", "uuid", "union"}
)
_EXACT: Final[dict[str, type[Any]]] = {"int": int, "str": str, "bool": bool, "float": float}
# Members of a node whose keys are names of the application, and members that contain no schema
_NAMED: Final = ("fields", "choices")
_NO_SCHEMAS: Final = frozenset({"cls", "config", "default", "expected", "members", "metadata", "serialization"})
_CHANGES_TEXT: Final = ("strip_whitespace", "to_lower", "to_upper")


class Problem(NamedTuple):
    """A type whose values can never be written and read back.

    Attributes:
        path: the steps from the field to the type.
        reason: the problem, and the type to declare instead.
        is_written: True if its JSON shows the value, and only reading it back fails.
    """

    path: tuple[str, ...]
    reason: str
    is_written: bool = True


@dataclass(slots=True)
class Examined:
    """The result of ``examine``.

    Attributes:
        problems: types whose values can never be written and read back.
        transparent: classes whose stored form consists exactly of their fields.
        converted: classes whose stored form passes through a validator of the application.
    """

    problems: list[Problem] = field(default_factory=list[Problem])
    transparent: set[type[Any]] = field(default_factory=set[type[Any]])
    converted: set[type[Any]] = field(default_factory=set[type[Any]])


def fields_of(schema: Node) -> dict[str, Node]:
    """Return the schemas of a typed dict's fields, by name."""
    _, root = opened(schema)
    return {name: cast("Node", member["schema"]) for name, member in root["fields"].items()}


def with_unknown_members(schema: Node) -> Any:
    """Return the schema of a typed dict changed so that it keeps undeclared members."""
    if schema["type"] == "typed-dict":
        return {**schema, "extra_behavior": "allow"}
    _, root = opened(schema)
    if schema["schema"]["type"] != "definition-ref":
        return {**schema, "schema": with_unknown_members(root)}
    kept = [with_unknown_members(item) if item is root else item for item in schema["definitions"]]
    return {**schema, "definitions": kept}


def examine(schema: Node) -> Examined:
    """Examine the fields of a state's schema; each path in the result begins with the name of the field."""
    definitions, root = opened(schema)
    found = Examined()
    _Examination(definitions, found).fields(root, (), converted=False)
    return found


def examine_value(schema: Node) -> Examined:
    """Examine the type of one value; the paths in the result begin below it."""
    definitions = opened(schema)[0]
    found = Examined()
    root = cast("Node", schema["schema"]) if schema["type"] == "definitions" else schema
    _Examination(definitions, found).value(root, (), converted=False)
    return found


def exact_class(node: Node) -> type[Any] | None:
    """Return the class of the values if JSON preserves all of them exactly, as for ``int`` and ``str``, else None."""
    while node["type"] == "default":
        node = node["schema"]
    if any(node.get(name) for name in _CHANGES_TEXT) or "serialization" in node:
        return None
    return _EXACT.get(node["type"])


def is_unconstrained(node: Node) -> bool:
    """True if the schema accepts every value of the class from ``exact_class``."""
    while node["type"] == "default":
        node = node["schema"]
    return node.keys() <= {"type", "metadata"}


def is_plain(schema: Node) -> bool:
    """True if the types of a typed dict exclude aliases, NaN and infinity."""
    _, root = opened(schema)
    return all(
        is_plain_value(member["schema"]) and member.get("validation_alias") is None
        for member in root["fields"].values()
    )


def has_aliases(schema: Any) -> bool:
    """True if a field at any level has an alias; only then values are also read by alias."""
    if isinstance(schema, dict):
        node = cast("dict[str, Any]", schema)
        if node.get("validation_alias") is not None or node.get("serialization_alias") is not None:
            return True
    return any(map(has_aliases, parts(schema)))


def has_annotations(schema: Node) -> bool:
    """True if a type below the root has metadata, which may change its JSON schema."""
    return any(map(_has_metadata, parts(opened(schema)[1])))


def _has_metadata(schema: Any) -> bool:
    if isinstance(schema, dict) and cast("dict[str, Any]", schema).get("metadata"):
        return True
    return any(map(_has_metadata, parts(schema)))


def parts(schema: Any) -> Iterator[Any]:
    """Yield the values in a part of a schema that may be schemas."""
    if isinstance(schema, dict):
        for name, value in cast("dict[str, Any]", schema).items():
            if name in _NAMED and isinstance(value, dict):
                yield from cast("dict[str, Any]", value).values()
            elif name not in _NO_SCHEMAS:
                yield value
    elif isinstance(schema, list | tuple):
        yield from cast("list[object]", schema)


def with_parts(schema: Any, change: Callable[[Any], Any]) -> Any:
    """Return a part of a schema with ``change`` applied to the values in it that may be schemas."""
    if isinstance(schema, dict):
        node = cast("dict[str, Any]", schema)
        return {name: _changed(name, value, change) for name, value in node.items()}
    if isinstance(schema, list):
        return [change(item) for item in cast("list[object]", schema)]
    if isinstance(schema, tuple):
        return tuple(change(item) for item in cast("tuple[object, ...]", schema))
    return schema


def _changed(name: str, value: Any, change: Callable[[Any], Any]) -> Any:
    if name in _NAMED and isinstance(value, dict):
        return {key: change(part) for key, part in cast("dict[str, Any]", value).items()}
    return value if name in _NO_SCHEMAS else change(value)


def with_visible_infinity(schema: Any) -> Any:
    """Return the schema changed so that NaN and infinity are written by name instead of null."""
    if isinstance(schema, dict):
        node = cast("dict[str, Any]", schema)
        changed: dict[str, Any] = with_parts(node, with_visible_infinity)
        if node.get("type") in ("model", "dataclass", "typed-dict"):
            changed["config"] = {"ser_json_inf_nan": "constants", **(node.get("config") or {})}
        return changed
    return with_parts(schema, with_visible_infinity)


def is_plain_value(node: Node) -> bool:
    """True if a type has no aliases and excludes NaN and infinity."""
    return node["type"] in _PLAIN and "serialization" not in node and all(map(is_plain_value, _all_children(node)))


def _all_children(node: Node) -> Iterator[Node]:
    for name in ("schema", "items_schema", "keys_schema", "values_schema", "choices"):
        yield from _listed(node.get(name))


def _listed(value: Any) -> list[Node]:
    """Return the schemas in a member that holds one schema, several, or several with labels."""
    if value is None:
        return []
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [cast("Node", cast("Any", item)[0] if isinstance(item, tuple) else item) for item in items]
    return [cast("Node", value)]


def opened(schema: Node) -> tuple[dict[str, Node], Node]:
    """Return the definitions of a schema by name, and the schema at its root."""
    if schema["type"] != "definitions":
        return {}, schema
    definitions = {cast("str", item["ref"]): cast("Node", item) for item in schema["definitions"]}
    root = cast("Node", schema["schema"])
    if root["type"] == "definition-ref":
        root = definitions[root["schema_ref"]]
    return definitions, root


class _Examination:
    """One traversal of a schema, in the order in which JSON is validated."""

    def __init__(self, definitions: Mapping[str, Node], found: Examined) -> None:
        self._definitions = definitions
        self._found = found
        self._visited: set[tuple[str, bool]] = set()

    def fields(self, node: Node, path: tuple[str, ...], *, converted: bool) -> None:
        """Examine the fields of a model, a dataclass or a typed dict."""
        fields: Any = node.get("fields", ())
        named: Iterable[tuple[str, Node]] = ((item["name"], item) for item in fields)
        for name, member in cast("Node", fields).items() if isinstance(fields, Mapping) else named:
            reason = _lost(name, member)
            if reason is not None:
                self._found.problems.append(Problem((*path, name), reason))
            else:
                self.value(member["schema"], (*path, name), converted=converted)

    def value(self, node: Node, path: tuple[str, ...], *, converted: bool) -> None:
        """Examine the type of one value; ``converted`` is True if an application's validator sees the JSON first."""
        kind = node["type"]
        if kind == "definition-ref":
            reference = node["schema_ref"]
            if (reference, converted) not in self._visited:
                self._visited.add((reference, converted))
                self.value(self._definitions[reference], path, converted=converted)
            return
        written = node.get("serialization")
        if written is not None and self._is_written_differently(cast("Node", written), path):
            return
        if kind in _NEVER_JSON and not converted:
            self._found.problems.append(Problem(path, _NEVER_JSON[kind], is_written=kind in _WRITTEN))
        elif kind in ("model", "dataclass"):
            self._model(node, path, converted=converted)
        elif kind in ("typed-dict", "named-tuple"):
            self.fields(node, path, converted=converted)
        elif kind in ("dict", "counter", "ordered-dict"):
            self._mapping(node, path, converted=converted)
        elif kind == "call":  # a named tuple
            for item in node["arguments_schema"].get("arguments_schema", ()):
                self.value(item["schema"], (*path, item["name"]), converted=converted)
        else:
            before = kind in ("function-before", "function-wrap") and not _is_pydantics(node)
            self._parts(node, path, converted=converted or before)

    def _is_written_differently(self, written: Node, path: tuple[str, ...]) -> bool:
        function = written.get("function")
        name = getattr(function, "__name__", "")
        if name.startswith("_serialize_secret") and getattr(function, "__module__", "") == "pydantic.types":
            reason = "a secret is written as asterisks and would be lost; keep the text in a str field"
            self._found.problems.append(Problem(path, reason, is_written=False))
            return True
        return bool(written["type"] == "function-plain")

    def _model(self, node: Node, path: tuple[str, ...], *, converted: bool) -> None:
        inner: Node = node["schema"]
        own = converted or bool(node.get("custom_init")) or inner["type"] not in ("model-fields", "dataclass-args")
        (self._found.converted if own else self._found.transparent).add(node["cls"])
        while "fields" not in inner and "schema" in inner:
            inner = inner["schema"]
        if node.get("root_model"):
            self._parts(node, path, converted=own)
            return
        extra = inner.get("extra_behavior") or node.get("config", {}).get("extra_fields_behavior")
        for computed in inner.get("computed_fields", ()):
            if extra in ("forbid", "allow") and not own:
                reason = f"a computed field cannot be read back by a model with extra={extra!r}"
                self._found.problems.append(Problem((*path, computed["property_name"]), reason))
        self.fields(inner, path, converted=own)

    def _mapping(self, node: Node, path: tuple[str, ...], *, converted: bool) -> None:
        keys, values = node.get("keys_schema"), node.get("values_schema")
        if keys is not None and not converted:
            reason = self._key_problem(keys)
            if reason is not None:
                self._found.problems.append(Problem(path, reason))
        if values is not None:
            self.value(values, (*path, "*"), converted=converted)

    def _key_problem(self, keys: Node) -> str | None:
        while keys["type"] in ("definition-ref", "nullable", "default", "function-after"):
            keys = self._definitions[keys["schema_ref"]] if keys["type"] == "definition-ref" else keys["schema"]
        kind = keys["type"]
        if kind in _CONTAINERS:
            return f"the keys of a JSON object are text, and a {kind} cannot be read back from it; use a list of pairs"
        samples = {"enum": keys.get("members"), "literal": keys.get("expected")}.get(kind, _SAMPLES.get(kind))
        if samples and not _keys_survive(keys, cast("list[Any]", samples)):
            return f"the keys of a JSON object are text, and {samples[0]!r} cannot be read back from it; use str keys"
        return None

    def _parts(self, node: Node, path: tuple[str, ...], *, converted: bool) -> None:
        for name in _SAME_VALUE:
            for child in _listed(node.get(name)):
                self.value(child, path, converted=converted)
        for child in _listed(node.get("items_schema")):
            self.value(child, (*path, "*"), converted=converted)
        choices: Any = node.get("choices")
        for child in _listed(list(cast("Node", choices).values()) if isinstance(choices, Mapping) else choices):
            self.value(child, path, converted=converted)
        for child in _listed(node.get("steps"))[:1]:
            self.value(child, path, converted=converted)


def _is_pydantics(node: Node) -> bool:
    """True if the function of a node belongs to Pydantic, as for ``defaultdict``."""
    function = node["function"]["function"]
    function = getattr(function, "func", function)
    return str(getattr(function, "__module__", "")).partition(".")[0] == "pydantic"


def _lost(name: str, member: Node) -> str | None:
    """Return the reason why a field is not stored or cannot be read back, or None if it is."""
    if member.get("init_only"):
        return "an InitVar is not written" if member["schema"]["type"] != "default" else None
    if member.get("serialization_exclude") and member["schema"]["type"] != "default":
        return "a field with exclude=True is not written, and has no default to be read back as"
    written = member.get("serialization_alias", name)
    accepted: Any = member.get("validation_alias", name)
    paths: list[Any] = [accepted] if isinstance(accepted, str) else list(accepted)
    read = {
        name,
        *(path if isinstance(path, str) else path[0] for path in paths if isinstance(path, str) or len(path) == 1),
    }
    if written not in read:
        return f"it is written as {written!r} and read as {accepted!r}; use one alias for both"
    return None


def _keys_survive(keys: Node, samples: list[Any]) -> bool:
    schema: Any = {"type": "dict", "keys_schema": keys, "values_schema": {"type": "int"}}
    try:
        written = SchemaSerializer(schema, _BYTES).to_json(dict.fromkeys(samples, 0))
        loaded: dict[Any, int] = SchemaValidator(schema, _BYTES).validate_json(written)
    except Exception:
        return False
    return len(loaded) == len(samples) and all(
        type(key) is type(sample) and key == sample for key, sample in zip(loaded, samples, strict=True)
    )
