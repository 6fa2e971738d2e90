"""Defaults of fields and parameters; each object and each call gets its own copy."""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Annotated, Any, Final, cast, get_args, get_origin
from uuid import UUID

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from goverse.errors import MethodFailed

NO_VALUE: Any = PydanticUndefined

_IMMUTABLE: Final = (str, int, float, complex, bytes, Enum, Decimal, date, time, timedelta, UUID, type(None))

_KEPT: Final = (
    *("alias", "validation_alias", "serialization_alias", "title", "description", "examples"),
    *("exclude", "exclude_if", "discriminator", "deprecated", "json_schema_extra"),
)


def has_default(declared: Any) -> bool:
    """True if the class attribute of a field gives it a default."""
    if isinstance(declared, FieldInfo):
        return not declared.is_required()
    return declared is not NO_VALUE


def is_shareable(default: Any) -> bool:
    """True if all objects and calls can share the value as a default, because it is immutable."""
    if isinstance(default, tuple | frozenset):
        return all(map(is_shareable, cast("Iterable[Any]", default)))
    return isinstance(default, _IMMUTABLE)


def default_maker(default: Any) -> Callable[[], Any]:
    """Return a function that makes a new copy of the default for each object; on failure it raises MethodFailed."""
    if isinstance(default, FieldInfo):
        return partial(_made, partial(default.get_default, call_default_factory=True, validated_data={}))
    if is_shareable(default):
        return partial(_same, default)
    return partial(_made, partial(copy.deepcopy, default))


def _made(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except BaseException as error:
        raise MethodFailed(f"a default value could not be made: {type(error).__name__}") from error


def _same(value: Any) -> Any:
    return value


def constrained(hint: Any, declared: FieldInfo) -> Any:
    """Return ``hint`` with the constraints and properties of ``Field(...)``, but without its default."""
    return Annotated[(hint, *declared.metadata, _without_default(declared))]


def split(hint: Any, declared: Any = NO_VALUE) -> tuple[Any, Any]:
    """Return the type without its default, and the default.

    ``declared`` is the value assigned after the annotation. Without one, a ``Field(...)`` inside ``Annotated`` provides
    the default.
    """
    default = declared
    if get_origin(hint) is Annotated:
        parts: list[Any] = []
        for part in hint.__metadata__:
            if isinstance(part, FieldInfo) and not part.is_required():
                default = part if default is NO_VALUE else default
                parts += [*part.metadata, _without_default(part)]
            else:
                parts.append(part)
        hint = Annotated[(get_args(hint)[0], *parts)]
    if isinstance(declared, FieldInfo):
        hint = constrained(hint, declared)
    return hint, default


def _without_default(declared: FieldInfo) -> FieldInfo:
    """Return a copy of ``Field(...)`` without default and constraints."""
    found: dict[str, Any] = {name: getattr(declared, name, None) for name in _KEPT}
    return FieldInfo(**{name: value for name, value in found.items() if value is not None})


def restorer(default: Any) -> Callable[[Any], Any] | None:
    """Return a function that restores properties of the default in a loaded value, or None if there are none.

    JSON cannot express these properties: the ``maxlen`` of a deque and the factory of a defaultdict.
    """
    if isinstance(default, deque):
        maxlen = cast("deque[object]", default).maxlen
        return None if maxlen is None else lambda loaded: _bounded(loaded, maxlen)
    if isinstance(default, defaultdict):
        factory = cast("defaultdict[object, object]", default).default_factory
        return lambda loaded: _with_factory(loaded, factory)
    return None


def _bounded(loaded: Any, maxlen: int) -> Any:
    return deque(cast("deque[object]", loaded), maxlen) if isinstance(loaded, deque) else loaded


def _with_factory(loaded: Any, factory: Callable[[], Any] | None) -> Any:
    return defaultdict(factory, cast("dict[object, object]", loaded)) if isinstance(loaded, dict) else loaded
