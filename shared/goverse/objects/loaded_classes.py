"""A fast check that a value in memory equals the value that its JSON loads as.

``goverse.objects.fidelity`` compares the value with the loaded JSON, which costs several times as much as writing the
JSON. If the JSON is valid, as that of an acknowledged state or of a validated result is, a cheaper check suffices: for
the types in this module, the JSON and the classes of all parts determine the value. Without the classes it would not
suffice: a list with instances of a model's subclass, a tuple instead of a list, or a ``StrEnum`` instead of a string
has the same JSON.

The check processes values in columns (all items of all lists, one field of all models), so the work per value is done
in C. It covers no other types; for these, and if it fails, the full comparison decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from math import isfinite
from operator import attrgetter, itemgetter
from types import NoneType
from typing import Any, Final, cast
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import TzInfo

from goverse.objects.storable import Node, opened

Column = Callable[[Sequence[Any]], bool]
"""Returns True if all values have the classes that loading their JSON produces."""

_SCALARS: Final[dict[str, type[Any]]] = {
    "int": int,
    "str": str,
    "bool": bool,
    "float": float,
    "none": NoneType,
    "bytes": bytes,
    "date": date,
    "timedelta": timedelta,
    "uuid": UUID,
    "decimal": Decimal,
}
_ITEMS: Final[dict[str, type[Any]]] = {"list": list, "set": set, "frozenset": frozenset}
_INSTANTS: Final[dict[str, type[Any]]] = {"datetime": datetime, "time": time}
# Types whose JSON forms differ from each other
_DISTINCT: Final = frozenset({"int", "str", "bool", "none"})
_members: Final[Callable[[Any], Iterable[Any]]] = cast("Any", dict).values
_DICTS: Final = frozenset({dict})
_TEXTS: Final = frozenset({str})
_NAMES: Final = frozenset({str, int})
_UNTYPED: Final = frozenset({dict, list, str, int, float, bool, NoneType})


class _Unsupported(Exception):
    """The check does not support a type: JSON and classes of the parts do not determine its values."""


def column(schema: Node, node: Node) -> Column | None:
    """Return the check for values of ``node``, a part of ``schema``, or None if its type is not supported."""
    definitions, _ = opened(schema)
    try:
        return _Columns(definitions).of(node)
    except _Unsupported:
        return None


class _Columns:
    """A builder of the checks for one schema."""

    def __init__(self, definitions: Mapping[str, Node]) -> None:
        self._definitions = definitions
        self._referred: dict[str, list[Column]] = {}

    def of(self, node: Node) -> Column:
        """Return the check for values of ``node``.

        Raises:
            _Unsupported: the type is not supported.
        """
        kind = node["type"]
        if "serialization" in node:
            raise _Unsupported
        if kind == "definition-ref":
            return self._reference(node["schema_ref"])
        if kind == "default":
            return self.of(node["schema"])
        if kind in _SCALARS:
            return _of_classes(_SCALARS[kind])
        if kind in _INSTANTS:
            return _instants(_INSTANTS[kind])
        if kind == "any":
            return untyped
        return self._composed(kind, node)

    def _composed(self, kind: str, node: Node) -> Column:
        if kind == "nullable":
            return self._nullable(node["schema"])
        if kind in _ITEMS:
            return _items(_ITEMS[kind], self._inner(node, "items_schema"))
        if kind == "tuple" and node.get("variadic_item_index") == 0 and len(node["items_schema"]) == 1:
            return _items(tuple, self.of(node["items_schema"][0]))
        if kind == "dict":
            return _mappings(_keys(node), self._inner(node, "values_schema"))
        if kind in ("enum", "literal"):
            return _named(node)
        if kind == "union":
            return _union(node)
        if kind in ("model", "dataclass"):
            return self._record(node)
        raise _Unsupported

    def _nullable(self, node: Node) -> Column:
        inner, kind = self.of(node), node["type"]
        if kind in _SCALARS and kind != "float":
            return _of_classes(_SCALARS[kind], NoneType)

        def check(values: Sequence[Any]) -> bool:
            present = [value for value in values if value is not None]
            return inner(present) and (kind != "float" or all(map(isfinite, present)))  # NaN has the JSON of None

        return check

    def _inner(self, node: Node, name: str) -> Column:
        return self.of(node[name]) if node.get(name) is not None else untyped

    def _reference(self, name: str) -> Column:
        made = self._referred.get(name)
        if made is None:
            made = self._referred[name] = []
            made.append(self.of(self._definitions[name]))
        found = made

        def check(values: Sequence[Any]) -> bool:
            return not values or found[0](values)  # a recursive type ends the recursion with an empty column

        return check

    def _record(self, node: Node) -> Column:
        """Return the check for a model or dataclass without values besides its fields, all of them written."""
        cls, inner = node["cls"], node["schema"]
        is_model = node["type"] == "model"
        if inner["type"] != ("model-fields" if is_model else "dataclass-args") or _has_more(cls, inner):
            raise _Unsupported
        fields = inner["fields"]
        members: dict[str, Node] = fields if is_model else {item["name"]: item for item in fields}
        if any(map(_is_incomplete, members.values())):
            raise _Unsupported
        if not is_model and set(members) != {field.name for field in dataclasses.fields(cls)}:
            raise _Unsupported
        return _records(cls, {name: self.of(item["schema"]) for name, item in members.items()}, is_model=is_model)


def _has_more(cls: Any, inner: Node) -> bool:
    if issubclass(cls, BaseModel):
        return bool(cls.__private_attributes__) or cls.model_config.get("extra") == "allow"
    return inner.get("extra_behavior") == "allow"


def _is_incomplete(item: Node) -> bool:
    """True if a member is not written, or not read back."""
    return bool(item.get("serialization_exclude") or item.get("init_only") or item.get("init") is False)


def _of_classes(*classes: type[Any]) -> Column:
    allowed = frozenset(classes)
    return lambda values: allowed.issuperset(map(type, values))


def _instants(kind: type[Any]) -> Column:
    """Return the check for datetimes or times; time zones with rules fail, because their JSON has only the offset."""

    of_kind = _of_classes(kind)

    def check(values: Sequence[Any]) -> bool:
        if not of_kind(values):
            return False
        zones = [value.tzinfo for value in values]
        return all(zone is None or zone is UTC or type(zone) is TzInfo for zone in zones)

    return check


def _keys(node: Node) -> Column:
    """Return the check for the keys of a dict; in JSON all keys are strings."""
    keys: Node = node.get("keys_schema") or {"type": "str"}
    if "serialization" in keys or keys["type"] not in _SCALARS or keys["type"] == "none":
        raise _Unsupported
    return _of_classes(_SCALARS[keys["type"]])


def _named(node: Node) -> Column:
    """Return the check for an enum or a literal whose values are strings and integers."""
    choices: list[Any] = node["members"] if node["type"] == "enum" else node["expected"]
    named = [choice.value for choice in choices] if node["type"] == "enum" else choices
    if not _NAMES.issuperset(map(type, named)):
        raise _Unsupported
    return _of_classes(*map(type, choices))


def _union(node: Node) -> Column:
    """Return the check for a union of scalar types whose JSON forms differ from each other."""
    choices = cast("list[Any]", node["choices"])
    plain = [cast("Node", choice) for choice in choices if isinstance(choice, dict) and "serialization" not in choice]
    kinds: set[str] = {choice["type"] for choice in plain}
    if not _DISTINCT.issuperset(kinds) or len(kinds) < len(choices):
        raise _Unsupported
    return _of_classes(*(_SCALARS[kind] for kind in kinds))


def _items(kind: type[Any], inner: Column) -> Column:
    allowed = frozenset({kind})

    def check(values: Sequence[Any]) -> bool:
        if not allowed.issuperset(map(type, values)):
            return False
        items = list(chain.from_iterable(values))
        return not items or inner(items)

    return check


def _mappings(keys: Column, members: Column) -> Column:
    def check(values: Sequence[Any]) -> bool:
        if not _DICTS.issuperset(map(type, values)):
            return False
        names = list(chain.from_iterable(values))
        return not names or (keys(names) and members(list(chain.from_iterable(map(_members, values)))))

    return check


def _records(cls: type[Any], members: Mapping[str, Column], *, is_model: bool) -> Column:
    names, columns = tuple(members), tuple(members.values())
    if not names:
        return _of_classes(cls)
    row: Any = itemgetter(*names, names[0]) if is_model else attrgetter(*names, names[0])
    attributes = attrgetter("__dict__")
    allowed = frozenset({cls})

    def check(values: Sequence[Any]) -> bool:
        if not values:
            return True
        if not allowed.issuperset(map(type, values)):
            return False
        try:
            rows: Iterable[tuple[Any, ...]] = list(map(row, map(attributes, values) if is_model else values))
        except (KeyError, AttributeError):  # made without validation
            return False
        return all(column(part) for column, part in zip(columns, zip(*rows, strict=True), strict=False))

    return check


def untyped(values: Sequence[Any]) -> bool:
    """Check values without a declared type, which load as plain JSON values."""
    left: Sequence[Any] = values
    while left:
        kinds = set(map(type, left))
        if not _UNTYPED.issuperset(kinds):
            return False
        if float in kinds and not all(isfinite(value) for value in left if type(value) is float):
            return False
        mappings: list[dict[Any, Any]] = [value for value in left if type(value) is dict] if dict in kinds else []
        if mappings and not _TEXTS.issuperset(map(type, chain.from_iterable(mappings))):
            return False
        lists: list[list[Any]] = [value for value in left if type(value) is list] if list in kinds else []
        left = [*chain.from_iterable(lists), *chain.from_iterable(map(_members, mappings))]
    return True
