"""Comparison of a value in memory with the value that its stored form loads as.

The value that a call acknowledges must be the stored value. ``==`` cannot check that: ``True == 1``, the same instant
in two time zones is equal, NaN is unequal to itself, and models and dataclasses may define any equality. In this module
two values are the same if their classes are the same and all their parts are.

Two differences are tolerated, because the declared type implies them and no digit is lost: an ``int`` in a ``float``
field, and a ``bool`` in a number field. ``settle`` replaces such values in memory by the loaded ones, so that an object
behaves the same before and after it is loaded.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from pydantic import BaseModel

from goverse.objects.value_text import MISSING, is_excluded

Compare = Callable[[Any, Any], bool]
Row = Callable[[dict[str, Any]], tuple[Any, ...]]

_ATOMS: Final = frozenset({str, int, bool, bytes, type(None), complex, date, timedelta, UUID})
_PLAIN: Final = _ATOMS | {float}
_attributes: Final[Callable[[Any], dict[str, Any]]] = attrgetter("__dict__")
_NO_MEMBERS: Final[dict[str, Any]] = {}


class Difference(NamedTuple):
    """The first difference between a value in memory and its loaded form.

    Attributes:
        path: the steps from the field to the value.
        live: the value in memory.
        loaded: the value that the stored form loads as.
        is_stored: False inside a private attribute or an excluded field of a model, whose values callers never see.
    """

    path: tuple[str, ...]
    live: Any
    loaded: Any
    is_stored: bool = True


class _Differs(Exception):
    def __init__(self, live: Any, loaded: Any) -> None:
        super().__init__()
        self.path: list[str] = []
        self.live = live
        self.loaded = loaded
        self.is_stored = True


# --- comparison ------------------------------------------------------------------------------------------------------


def same(live: object, loaded: object) -> bool:
    """True if two values and all their parts have the same classes and contents."""
    kind = type(live)
    if kind is not type(loaded):
        return False
    if kind in _ATOMS:
        return bool(live == loaded)
    return _comparison_of(kind)(live, loaded)


def _floats(live: float, loaded: float) -> bool:
    return live == loaded or (live != live and loaded != loaded)  # noqa: PLR0124  # NaN


def _decimals(live: Decimal, loaded: Decimal) -> bool:
    return live.as_tuple() == loaded.as_tuple()


def _instants(live: Any, loaded: Any) -> bool:
    """True if two datetimes or times have the same fields and offset, and storing loses no rule of a time zone.

    ``fold`` is not stored: with a fixed offset it has no meaning, and without an offset the local time is ambiguous
    anyway.
    """
    if live.replace(tzinfo=None) != loaded.replace(tzinfo=None):
        return False
    zone: tzinfo | None = live.tzinfo
    if zone is None or loaded.tzinfo is None:
        return zone is loaded.tzinfo
    if type(zone) is type(loaded.tzinfo) and zone == loaded.tzinfo:
        return True
    return bool(zone.utcoffset(None) is not None and live.utcoffset() == loaded.utcoffset())


def _sequences(live: Any, loaded: Any) -> bool:
    if len(live) != len(loaded):
        return False
    kinds: set[type[Any]] = set(map(type, live))
    if len(kinds) != 1:
        return all(map(same, live, loaded))
    if kinds != set(map(type, loaded)):
        return False
    (kind,) = kinds  # the common case, with less Python code per item
    if kind in _ATOMS:
        return bool(live == loaded)
    if issubclass(kind, BaseModel) and not _has_more(kind) and _are_plain(kind, live, loaded):
        return True
    return all(map(_comparison_of(kind), live, loaded))


def _deques(live: deque[Any], loaded: deque[Any]) -> bool:
    return live.maxlen == loaded.maxlen and _sequences(live, loaded)


def _sets(live: Any, loaded: Any) -> bool:
    if len(live) != len(loaded):
        return False
    found = {item: item for item in loaded}
    return all(same(item, found.get(item, MISSING)) for item in live)


def _mappings(live: dict[Any, Any], loaded: dict[Any, Any]) -> bool:
    if _sequences(list(live), list(loaded)):
        return _sequences(list(live.values()), list(loaded.values()))
    if len(live) != len(loaded):
        return False
    found = {key: key for key in loaded}  # a typed dict loads in the order of its declaration
    return all(same(key, found.get(key, MISSING)) and same(value, loaded[key]) for key, value in live.items())


def _defaultdicts(live: defaultdict[Any, Any], loaded: defaultdict[Any, Any]) -> bool:
    return live.default_factory is loaded.default_factory and _mappings(live, loaded)


def _model_comparison(kind: type[BaseModel]) -> Compare:
    names = tuple(kind.__pydantic_fields__)
    has_more = _has_more(kind)

    def compare(live: BaseModel, loaded: BaseModel) -> bool:
        if not _are_plain(kind, (live,), (loaded,)):
            mine, other = live.__dict__, loaded.__dict__
            if not all(same(mine.get(name, MISSING), other.get(name, MISSING)) for name in names):
                return False
        return not has_more or _have_same_extras(live, loaded)

    return compare


def _has_more(kind: type[BaseModel]) -> bool:
    """True if instances of a model class may have values besides their fields."""
    return bool(kind.__private_attributes__) or kind.model_config.get("extra") == "allow"


def _are_plain(kind: type[BaseModel], live: Iterable[BaseModel], loaded: Iterable[BaseModel]) -> bool:
    """True if the models have only plain values and the same ones. A fast path without Python code per model."""
    row = _ROWS.get(kind)
    if row is None:
        names = tuple(kind.__pydantic_fields__)
        row = _ROWS[kind] = cast("Row", itemgetter(*names, *names[:1]) if names else _no_values)
    try:
        mine, other = list(map(row, map(_attributes, live))), list(map(row, map(_attributes, loaded)))
    except KeyError:  # made without validation
        return False
    if mine != other:
        return False
    kinds = list(map(type, chain.from_iterable(mine)))
    return _PLAIN.issuperset(kinds) and kinds == list(map(type, chain.from_iterable(other)))


def _no_values(_attributes: dict[str, Any]) -> tuple[Any, ...]:
    return ()


def _have_same_extras(live: BaseModel, loaded: BaseModel) -> bool:
    return _mappings(live.__pydantic_extra__ or _NO_MEMBERS, loaded.__pydantic_extra__ or _NO_MEMBERS) and _privates(
        live.__pydantic_private__ or _NO_MEMBERS, loaded.__pydantic_private__ or _NO_MEMBERS
    )


def _privates(live: dict[str, Any], loaded: dict[str, Any]) -> bool:
    return live.keys() == loaded.keys() and all(same(value, loaded[name]) for name, value in live.items())


def _dataclass_comparison(kind: Any) -> Compare:
    names = tuple(field.name for field in dataclasses.fields(kind))

    def compare(live: Any, loaded: Any) -> bool:
        return all(same(getattr(live, name, MISSING), getattr(loaded, name, MISSING)) for name in names)

    return compare


def _identities(live: Any, loaded: Any) -> bool:
    return live is loaded


def _opaque(live: Any, loaded: Any) -> bool:
    """Compare values of a class without its own equality by the state that copying them would use."""
    return live is loaded or same(live.__getstate__(), loaded.__getstate__())


def _foreign(live: Any, loaded: Any) -> bool:
    """Compare values of a class with its own equality; for arrays, ``==`` returns a result per element."""
    answer: Any = live == loaded
    if isinstance(answer, bool):
        return answer
    everywhere = getattr(answer, "all", None)
    alike = all(getattr(live, name, None) == getattr(loaded, name, None) for name in ("dtype", "shape"))
    return alike and bool(everywhere() if callable(everywhere) else answer)


def _comparison_of(kind: type[Any]) -> Compare:
    """Return the comparison for values of a class."""
    compare = _COMPARE.get(kind)
    if compare is None:
        compare = _COMPARE[kind] = _made_comparison(kind)
    return compare


def _made_comparison(kind: type[Any]) -> Compare:
    if issubclass(kind, Enum):
        return _identities
    if issubclass(kind, BaseModel):
        return _model_comparison(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass_comparison(kind)
    for base, compare in _BY_BASE:
        if issubclass(kind, base):
            return compare
    equality: Any = kind.__eq__
    return _opaque if equality is object.__eq__ else _foreign


_BY_BASE: Final[tuple[tuple[type[Any], Compare], ...]] = (
    (float, _floats),
    (Decimal, _decimals),
    (datetime, _instants),
    (time, _instants),
    (deque, _deques),
    (defaultdict, _defaultdicts),
    (dict, _mappings),
    (set, _sets),
    (frozenset, _sets),
    (list, _sequences),
    (tuple, _sequences),
)
# Caches by class, filled on first use
_ROWS: Final[dict[type[Any], Row]] = {}
_COMPARE: Final[dict[type[Any], Compare]] = {}


# --- difference ------------------------------------------------------------------------------------------------------


def settle(live: Any, loaded: Any) -> tuple[Any, Difference | None]:
    """Return the value to keep in memory, and the first difference that is not tolerated, or None.

    Numbers that the declared type promotes are replaced inside ``live``; all other parts keep their identity.
    """
    try:
        return _settled(live, loaded), None
    except _Differs as found:
        return live, Difference(tuple(reversed(found.path)), found.live, found.loaded, found.is_stored)
    except RecursionError:
        return live, Difference((), live, loaded)


def _settled(live: Any, loaded: Any) -> Any:
    if same(live, loaded):
        return live
    if _promoted(live, loaded):
        return loaded
    kind = _class(live)
    if kind is not type(loaded):
        raise _Differs(live, loaded)
    if issubclass(kind, BaseModel):
        return _settled_model(live, loaded)
    if dataclasses.is_dataclass(kind):
        return _settled_dataclass(live, loaded)
    if issubclass(kind, dict):
        return _settled_mapping(live, loaded)
    if issubclass(kind, list | deque) and len(live) == len(loaded):
        if issubclass(kind, deque) and live.maxlen != loaded.maxlen:
            raise _Differs(live, loaded)
        for index, item in enumerate(_settled_items(live, loaded)):
            live[index] = item
        return live
    if issubclass(kind, tuple) and len(live) == len(loaded):
        items = _settled_items(live, loaded)
        return _made(kind, items)
    if issubclass(kind, set | frozenset) and len(live) == len(loaded):
        return _settled_set(live, loaded)
    raise _Differs(live, loaded)


def _class(value: object) -> type[Any]:
    return type(value)


def _made(kind: Any, items: list[Any]) -> Any:
    return kind._make(items) if hasattr(kind, "_make") else kind(items)


def _promoted(live: Any, loaded: Any) -> bool:
    if type(loaded) is float:
        return type(live) in (int, bool) and live == loaded
    return type(loaded) is int and type(live) is bool and live == loaded


def _step(name: str, live: Any, loaded: Any, *, is_stored: bool = True) -> Any:
    try:
        return _settled(live, loaded)
    except _Differs as found:
        found.path.append(name)
        found.is_stored = found.is_stored and is_stored
        raise


def _settled_items(live: Iterable[Any], loaded: Iterable[Any]) -> list[Any]:
    pairs = zip(live, loaded, strict=True)
    return [_step(str(index), mine, other) for index, (mine, other) in enumerate(pairs)]


def _settled_set(live: Any, loaded: Any) -> Any:
    found = {item: item for item in loaded}
    for item in live:
        _settled(item, found.get(item, MISSING))
    if isinstance(live, set):
        items = cast("set[object]", live)
        items.clear()
        items.update(loaded)
        return items
    return loaded


def _settled_mapping(live: dict[Any, Any], loaded: dict[Any, Any]) -> dict[Any, Any]:
    if isinstance(live, defaultdict) and live.default_factory is not cast("Any", loaded).default_factory:
        raise _Differs(live, loaded)
    if len(live) != len(loaded):
        raise _Differs(live, loaded)
    found = {key: key for key in loaded}
    pairs: list[tuple[Any, Any]] = []
    for key, same_position in zip(live, loaded, strict=True):
        other = found.get(key, same_position)
        if not same(key, other) and not _promoted(key, other):
            raise _Differs(key, other)
        pairs.append((key, other))
    settled = {other: _step(str(key), live[key], loaded[other]) for key, other in pairs}
    live.clear()
    live.update(settled)
    return live


def _settled_model(live: BaseModel, loaded: BaseModel) -> BaseModel:
    mine, other = _attributes(live), _attributes(loaded)
    for name, field in type(live).__pydantic_fields__.items():
        value, back = mine.get(name, MISSING), other.get(name, MISSING)
        mine[name] = _step(name, value, back, is_stored=not is_excluded(field))
    for members, loaded_members, is_stored in (
        (live.__pydantic_extra__ or {}, loaded.__pydantic_extra__ or {}, True),
        (live.__pydantic_private__ or {}, loaded.__pydantic_private__ or {}, False),
    ):
        for name in [*members, *(name for name in loaded_members if name not in members)]:
            value, back = members.get(name, MISSING), loaded_members.get(name, MISSING)
            members[name] = _step(name, value, back, is_stored=is_stored)
    return live


def _settled_dataclass(live: Any, loaded: Any) -> Any:
    for field in dataclasses.fields(live):
        mine, other = getattr(live, field.name, MISSING), getattr(loaded, field.name, MISSING)
        value = _step(field.name, mine, other)
        if value is not mine:
            object.__setattr__(live, field.name, value)
    return live


# --- advice ----------------------------------------------------------------------------------------------------------


def remedy(difference: Difference, *, is_passed: bool = False) -> str:
    """Return the advice for a difference; with ``is_passed`` for an argument or a result instead of a field."""
    live, loaded = difference.live, difference.loaded
    for applies, stored, passed in _REMEDIES:
        if applies(live, loaded):
            return passed or stored if is_passed else stored
    made = "pass" if is_passed else "assign"
    return f"a validator or serializer of its type changes it; {made} the value that they make"


def _is_number_without_json(live: Any, _loaded: Any) -> bool:
    return not live.is_finite() if isinstance(live, Decimal) else isinstance(live, float) and not math.isfinite(live)


def _is_secret(live: Any, _loaded: Any) -> bool:
    return callable(getattr(live, "get_secret_value", None))


def _is_subclass(live: Any, loaded: Any) -> bool:
    return type(live) is not type(loaded) and isinstance(live, type(loaded)) and _has_fields(live)


def _is_of_another_class(live: Any, loaded: Any) -> bool:
    return type(live) is not type(loaded) and _has_fields(live) and _has_fields(loaded)


def _is_untyped_model(live: Any, loaded: Any) -> bool:
    return type(loaded) is dict and _has_fields(live)


def _is_mapping_with_behaviour(live: Any, loaded: Any) -> bool:
    return isinstance(live, defaultdict | OrderedDict) and isinstance(loaded, dict)


def _is_bounded(live: Any, loaded: Any) -> bool:
    return isinstance(live, deque) and isinstance(loaded, deque)


def _is_enum(live: Any, _loaded: Any) -> bool:
    return isinstance(live, Enum)


def _is_zoned(live: Any, loaded: Any) -> bool:
    return isinstance(live, datetime | time) and type(live) is type(loaded)


def _has_fields(value: Any) -> bool:
    return isinstance(value, BaseModel) or dataclasses.is_dataclass(value)


def _differs_in_type(live: Any, loaded: Any) -> bool:
    return type(live) is not type(loaded)


_NO_NUMBER: Final = "NaN and infinity have no JSON form"

_REMEDIES: Final[tuple[tuple[Compare, str, str], ...]] = (
    # The differences, the advice for a field, and the one for an argument or a result if that is another
    (
        _is_secret,
        "keep the text in a str field instead of a secret type",
        "pass the text in a str instead of a secret type",
    ),
    (
        _is_number_without_json,
        f"{_NO_NUMBER}; store None or a finite number",
        f"{_NO_NUMBER}; pass None or a finite number",
    ),
    (_is_subclass, "declare the subclass, or a union of the classes with a discriminator", ""),
    (_is_of_another_class, "give the union a discriminator: Annotated[A | B, Field(discriminator='kind')]", ""),
    (_is_untyped_model, "declare the class as the type of the value", ""),
    (
        _is_mapping_with_behaviour,
        "declare this type, and give the field a default with the same factory",
        "pass a dict made of it",
    ),
    (
        _is_bounded,
        "give the field a default with the same maxlen",
        "maxlen does not arrive; pass a list, or a deque without maxlen",
    ),
    (_is_enum, "declare the enum as the type, or store its value", "declare the enum as the type, or pass its value"),
    (
        _is_zoned,
        "convert it with astimezone(UTC), and keep the zone's name in a field of its own",
        "convert it with astimezone(UTC), and pass the zone's name too",
    ),
    (_differs_in_type, "declare its type instead of a wider one", ""),
)
