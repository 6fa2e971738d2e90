"""Preservation of members of nested models that the running release does not declare.

During a rolling upgrade or after a rollback, an older node reads models that a newer node wrote. Pydantic drops the
members that the older class does not declare, so the next write would delete them. Instead, such members are attached
to the model or dataclass instance and written back with it. They stay with the instance inside lists and dicts and
through ``model_copy``. A new instance that the application creates has none.

Members are not preserved for classes with a validator that sees the stored form, because it may rename members itself,
nor for values without instance attributes: typed dicts, named tuples, dataclasses with slots, and members of sets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple, cast

from pydantic import AliasChoices, BaseModel

Json = dict[str, Any]

ATTRIBUTE: Final = "_goverse_unknown_members"


class _Part(NamedTuple):
    """A part of a value, in memory and in its JSON form.

    Attributes:
        path: the name in messages.
        key: the member name or index in the JSON form.
        value: the value in memory.
    """

    path: str
    key: Any
    value: Any


def attach(value: Any, stored: Any, written: Any, keepers: Collection[type[Any]]) -> list[str]:
    """Attach the members of ``stored`` that ``written`` lacks to the models in ``value``; return their paths."""
    found: list[str] = []
    if type(value) in keepers and isinstance(stored, dict) and isinstance(written, dict) and hasattr(value, "__dict__"):
        known = _known_names(value)
        members = cast("Json", stored)
        unknown = {name: part for name, part in members.items() if name not in written and name not in known}
        if unknown:
            value.__dict__[ATTRIBUTE] = unknown
            found.extend(unknown)
    for part in _parts(value, written):
        inner = _at(stored, part.key)
        if inner is not None:
            found.extend(f"{part.path}.{name}" for name in attach(part.value, inner, written[part.key], keepers))
    return found


def restore(value: Any, written: Any) -> None:
    """Add the members attached to the models in ``value`` to ``written``, its JSON form."""
    if isinstance(written, dict):
        kept: Json | None = getattr(value, "__dict__", {}).get(ATTRIBUTE)
        if kept is not None:
            for name, member in kept.items():
                cast("Json", written).setdefault(name, member)
    for part in _parts(value, written):
        restore(part.value, written[part.key])


def _at(stored: Any, key: Any) -> Any:
    if isinstance(stored, dict):
        return cast("Json", stored).get(key)
    if isinstance(stored, list) and isinstance(key, int):
        items = cast("list[object]", stored)
        return items[key] if key < len(items) else None
    return None


def _parts(value: Any, written: Any) -> Iterator[_Part]:
    """Yield the parts of a value that its JSON form contains at the expected member or index."""
    if isinstance(value, BaseModel | dict) or dataclasses.is_dataclass(value):
        if not isinstance(written, dict):
            return
        members = cast("Json", written)
        if isinstance(value, dict):
            values = list(cast("dict[object, object]", value).values())
            if len(values) == len(members):
                yield from (_Part("*", key, part) for key, part in zip(members, values, strict=True))
            return
        for name, key in _written_names(value):
            part = getattr(value, "__dict__", {}).get(name)
            if key in members and _may_hold_models(part):
                yield _Part(name, key, part)
    elif isinstance(value, list | tuple) and isinstance(written, list):
        items = cast("list[object]", value)
        if len(items) == len(cast("list[object]", written)):
            yield from (_Part("*", index, part) for index, part in enumerate(items) if _may_hold_models(part))


def _may_hold_models(value: Any) -> bool:
    return not isinstance(value, str | int | float | bytes | None)


def _fields_of(value: object) -> Any:
    return getattr(type(value), "__pydantic_fields__", None)


def _written_names(value: Any) -> Iterator[tuple[str, str]]:
    fields: Any = _fields_of(value)
    if fields is None:
        yield from ((field.name, field.name) for field in dataclasses.fields(value))
        return
    for name, field in fields.items():
        yield name, field.serialization_alias or name


def _known_names(value: Any) -> set[str]:
    """Return all names from which a class reads its fields, aliases included."""
    known: set[str] = set()
    fields: Any = _fields_of(value) or {}
    for name, key in _written_names(value):
        known |= {name, key}
        alias = getattr(fields.get(name), "validation_alias", None)
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        known |= {
            choice if isinstance(choice, str) else str(choice.path[0]) for choice in choices if choice is not None
        }
    return known
