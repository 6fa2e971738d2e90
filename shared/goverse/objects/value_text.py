"""Values as text for messages: one short line, without parts that are never stored or shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast, get_args

from pydantic.fields import FieldInfo

MISSING: Final = object()
"""A placeholder for a value that does not exist."""

_TEXT_MAX: Final = 80
_PARTS_MAX: Final = 10_000


def shown(value: Any) -> str:
    """Return a value as text for a message, or only its class if it has excluded fields; secrets mask themselves."""
    if value is MISSING:
        return "nothing"
    try:
        text = f"a {type(value).__name__}" if has_excluded(value) else " ".join(repr(value).split())
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"


def has_excluded(value: Any) -> bool:
    """True if a value contains models or dataclasses with excluded fields, or is too large to search."""
    waiting, left = [value], _PARTS_MAX
    while waiting:
        part = waiting.pop()
        left -= 1
        if not left or any(map(is_excluded, _fields(_class(part)).values())):
            return True
        waiting.extend(_parts(part))
    return False


def is_excluded(field: FieldInfo) -> bool:
    """True if a model omits the field from its JSON, always or for some values."""
    return bool(field.exclude) or getattr(field, "exclude_if", None) is not None


def _class(value: object) -> type[Any]:
    return type(value)


def _fields(kind: type[Any]) -> Mapping[str, FieldInfo]:
    declared = getattr(kind, "__pydantic_fields__", None)
    if isinstance(declared, dict):
        return cast("dict[str, FieldInfo]", declared)
    if not dataclasses.is_dataclass(kind):
        return {}
    marks = (
        (field.name, mark) for field in dataclasses.fields(kind) for mark in (field.default, *get_args(field.type))
    )
    return {name: mark for name, mark in marks if isinstance(mark, FieldInfo)}


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)  # type: ignore[redundant-cast]  # pyright needs it
        yield from mapping.keys()
        yield from mapping.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from cast("list[Any]", value)
    elif _fields(_class(value)) or dataclasses.is_dataclass(value):
        yield from vars(value).values()
