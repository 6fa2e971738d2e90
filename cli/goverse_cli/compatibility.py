"""Breaking changes between two versions of an OpenAPI document.

A client of the old document keeps working if the new server accepts everything that the client may send, and returns
nothing that the client does not expect. So request schemas may only become wider and response schemas only narrower. A
difference that cannot be compared, such as two different patterns, counts as breaking.

Example: an argument that changes from `integer` to `integer or null` is compatible. A result that changes in the same
way is breaking, because an old client does not expect `null`.

Source: B. Liskov, J. Wing, "A Behavioral Notion of Subtyping" (1994): arguments contravariant, results covariant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, NamedTuple, cast

Node = Mapping[str, Any]

_VERBS: Final = ("get", "put", "post", "delete", "head", "options", "patch")
_TYPES: Final = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EQUAL: Final = ("pattern", "format", "multipleOf", "uniqueItems", "contentEncoding")


class Way(Enum):
    """Direction of a value: in a request or in a response."""

    TO_SERVER = auto()
    TO_CLIENT = auto()


class Break(NamedTuple):
    """One breaking change.

    Attributes:
        place: the operation, and the position in it.
        what: description of the change.
    """

    place: str
    what: str


def breaks(old: Node, new: Node) -> list[Break]:
    """Return the changes from ``old`` to ``new`` that break clients of ``old``."""
    return list(_Comparison(old, new).run())


@dataclass(frozen=True, slots=True)
class _Comparison:
    old: Node
    new: Node

    def run(self) -> Iterator[Break]:
        new_paths = cast("Mapping[str, Node]", self.new.get("paths", {}))
        for path, before in sorted(cast("Mapping[str, Node]", self.old.get("paths", {})).items()):
            after = new_paths.get(path)
            if after is None:
                yield Break(path, "the path was removed")
                continue
            for verb in _VERBS:
                if verb in before:
                    place = f"{verb.upper()} {path}"
                    if verb not in after:
                        yield Break(place, "the operation was removed")
                    else:
                        yield from self._operation(place, before[verb], after[verb])

    def _operation(self, place: str, old: Node, new: Node) -> Iterator[Break]:
        if old.get("operationId") != new.get("operationId"):
            yield Break(place, f"operationId was {old.get('operationId')!r} and is {new.get('operationId')!r}")
        yield from self._parameters(place, old, new)
        yield from self._body(place, self._old(old.get("requestBody", {})), self._new(new.get("requestBody", {})))
        responses = cast("Mapping[str, Node]", new.get("responses", {}))
        for status, answer in cast("Mapping[str, Node]", old.get("responses", {})).items():
            if not status.startswith("2"):
                continue
            if status not in responses:
                yield Break(place, f"status {status} is no longer returned")
                continue
            yield from self._answer(f"{place} → {status}", self._old(answer), self._new(responses[status]))

    def _parameters(self, place: str, old: Node, new: Node) -> Iterator[Break]:
        before = {(p["in"], p["name"]): p for p in map(self._old, old.get("parameters", ()))}
        after = {(p["in"], p["name"]): p for p in map(self._new, new.get("parameters", ()))}
        for key, parameter in before.items():
            where = f"{place}, {key[0]} {key[1]}"
            if key not in after:
                yield Break(where, "the parameter was removed")
                continue
            if after[key].get("required") and not parameter.get("required"):
                yield Break(where, "the parameter is required now")
            yield from self._schema(where, parameter.get("schema", {}), after[key].get("schema", {}), Way.TO_SERVER)
        for key, parameter in after.items():
            if key not in before and parameter.get("required"):
                yield Break(f"{place}, {key[0]} {key[1]}", "a required parameter was added")

    def _body(self, place: str, old: Node, new: Node) -> Iterator[Break]:
        if new.get("required") and not old.get("required"):
            yield Break(f"{place}, body", "the body is required now")
        yield from self._content(f"{place}, body", old, new, Way.TO_SERVER)

    def _answer(self, place: str, old: Node, new: Node) -> Iterator[Break]:
        kept = {name.lower() for name in new.get("headers", {})}
        for name in old.get("headers", {}):
            if name.lower() not in kept:
                yield Break(place, f"the header {name} was removed")
        yield from self._content(place, old, new, Way.TO_CLIENT)

    def _content(self, place: str, old: Node, new: Node, way: Way) -> Iterator[Break]:
        after = cast("Mapping[str, Node]", new.get("content", {}))
        for media, content in cast("Mapping[str, Node]", old.get("content", {})).items():
            if media not in after:
                yield Break(place, f"the media type {media} was removed")
            else:
                yield from self._schema(place, content.get("schema", {}), after[media].get("schema", {}), way)

    # --- schemas ------------------------------------------------------------------------------------------------------

    def _schema(self, place: str, old: Any, new: Any, way: Way) -> Iterator[Break]:
        """Compare two schemas. For requests the old one must fit into the new one, for responses the reverse."""
        if way is Way.TO_SERVER:
            sent, taken = _Side(self.old, "was", old), _Side(self.new, "is", new)
        else:
            sent, taken = _Side(self.new, "is", new), _Side(self.old, "was", old)
        for where, what in _misfits(sent, taken, frozenset()):
            yield Break(f"{place}{where}", what)

    def _old(self, node: Node) -> Node:
        return _resolved(self.old, node)

    def _new(self, node: Node) -> Node:
        return _resolved(self.new, node)


class _Side(NamedTuple):
    """A schema with the document of its references; ``tense`` is "was" for the old document, "is" for the new one."""

    document: Node
    tense: str
    schema: Any

    def part(self, schema: Any) -> _Side:
        return self._replace(schema=schema)

    @property
    def resolved(self) -> Node:
        schema = self.schema
        if isinstance(schema, bool):
            return {} if schema else {"not": {}}
        return _resolved(self.document, schema)


def _resolved(document: Node, node: Node) -> Node:
    seen: set[str] = set()
    while isinstance(reference := node.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = cast("Node", target)
    return node


def _misfits(sent: _Side, taken: _Side, under_way: frozenset[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    """Yield each position at which a value of ``sent`` is not a value of ``taken``, with the reason."""
    left, right = sent.resolved, taken.resolved
    pair = (id(left), id(right))
    if pair in under_way:  # a recursive schema; this pair is being compared already
        return
    under_way |= {pair}
    lefts, rights = _alternatives(left), _alternatives(right)
    if len(lefts) > 1 or len(rights) > 1:
        for each in lefts:
            if not any(_fits(sent.part(each), taken.part(other), under_way) for other in rights):
                yield "", _unexpected(_told(each), sent)
        return
    yield from _plain_misfits(sent.part(lefts[0]), taken.part(rights[0]), under_way)


def _unexpected(values: str, sent: _Side) -> str:
    if sent.tense == "was":  # a request: the old document describes what clients send
        return f"{values} was accepted and is no longer accepted"
    return f"{values} can be returned and could not be returned before"


def _fits(sent: _Side, taken: _Side, under_way: frozenset[tuple[int, int]]) -> bool:
    return next(_misfits(sent, taken, under_way), None) is None


def _plain_misfits(sent: _Side, taken: _Side, under_way: frozenset[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    left, right = sent.resolved, taken.resolved
    stray = _types(left) - _types(right)
    if "number" in _types(right):
        stray -= {"integer"}
    if stray:
        yield "", _unexpected(" or ".join(sorted(stray)), sent)
        return
    yield from _value_misfits(left, right, sent, taken)
    if "object" in _types(left):
        yield from _member_misfits(sent, taken, under_way)
    if "array" in _types(left):
        yield from _item_misfits(sent, taken, under_way)


def _value_misfits(left: Node, right: Node, sent: _Side, taken: _Side) -> Iterator[tuple[str, str]]:
    expected = _values(right)
    if expected is not None:
        possible = _values(left)
        if possible is None:
            yield "", _unexpected(f"any value other than {_listed(expected)}", sent)
            return
        stray = [value for value in possible if value not in expected]
        if stray:
            yield "", _unexpected(_listed(stray), sent)
        return
    for name in _LOWER:
        if name in right and (name not in left or left[name] < right[name]):
            yield "", f"{name} {sent.tense} {left.get(name, 'none')} and {taken.tense} {right[name]}"
    for name in _UPPER:
        if name in right and (name not in left or left[name] > right[name]):
            yield "", f"{name} {sent.tense} {left.get(name, 'none')} and {taken.tense} {right[name]}"
    for name in _EQUAL:
        if name in right and left.get(name) != right[name]:
            yield "", f"{name} {sent.tense} {left.get(name, 'none')!r} and {taken.tense} {right[name]!r}"


def _member_misfits(sent: _Side, taken: _Side, under_way: frozenset[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    left, right = sent.resolved, taken.resolved
    sent_members, taken_members = left.get("properties", {}), right.get("properties", {})
    rest = right.get("additionalProperties", True)
    for name in right.get("required", ()):
        if name not in left.get("required", ()):
            yield f".{name}", f"it {sent.tense} optional and {taken.tense} required"
    for name in sent_members:
        if rest is False and name not in taken_members and sent.tense == "was":
            yield f".{name}", "the argument was removed"  # in a response, a new member is compatible
    for name in taken_members:
        if name not in sent_members and sent.tense == "is":
            yield f".{name}", "the member was removed"
    pairs = [(name, schema, taken_members.get(name, rest)) for name, schema in sent_members.items()]
    for name, schema, other in [*pairs, ("*", left.get("additionalProperties"), rest)]:
        if isinstance(schema, Mapping) and isinstance(other, Mapping):
            for where, what in _misfits(sent.part(schema), taken.part(other), under_way):
                yield f".{name}{where}", what


def _item_misfits(sent: _Side, taken: _Side, under_way: frozenset[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    left, right = sent.resolved, taken.resolved
    sent_places, taken_places = left.get("prefixItems", ()), right.get("prefixItems", ())
    places = max(len(sent_places), len(taken_places))
    for at in range(min(places + 1, left.get("maxItems", places + 1))):
        schema = sent_places[at] if at < len(sent_places) else left.get("items", {})
        other = taken_places[at] if at < len(taken_places) else right.get("items", {})
        if other in ({}, True):  # it accepts any value
            continue
        for where, what in _misfits(sent.part(schema), taken.part(other), under_way):
            yield f"[{at if at < places else ''}]{where}", what


def _alternatives(schema: Node) -> Sequence[Node]:
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return cast("Sequence[Node]", schema[name])
    types = schema.get("type")
    if isinstance(types, list):
        return [{**schema, "type": each} for each in cast("list[str]", types)]
    return [schema]


def _types(schema: Node) -> frozenset[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return frozenset({kind})
    values = _values(schema)
    if values is not None:
        return frozenset(map(_type_of, values))
    return _TYPES


def _values(schema: Node) -> Sequence[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return cast("Sequence[Any] | None", schema.get("enum"))


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {"bool": "boolean", "int": "integer", "float": "number", "str": "string", "list": "array"}
    return kinds.get(type(value).__name__, "object")


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values))


def _told(schema: Any) -> str:
    if isinstance(schema, Mapping):
        node = cast("Node", schema)
        named = node.get("$ref")
        if isinstance(named, str):
            return named.rpartition("/")[2]
        values = _values(node)
        if values is not None:
            return _listed(values)
        return str(node.get("type", "any value"))
    return "any value"
