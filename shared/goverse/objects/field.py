"""``field``: the default and the visibility of a persistent field.

    note: str = field(default="", hidden=True)
    tags: list[str] = field(default_factory=list)

A hidden field is stored like any other, but ``GET``, listings and the API documentation omit it. A subclass that
changes its default keeps it hidden; only ``field(hidden=False)`` in the subclass makes it visible again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast, get_args, overload

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from goverse.errors import DefinitionError
from goverse.objects.declaration import check_flag
from goverse.objects.known_options import known_options

T = TypeVar("T")

_UNSET: Final[Any] = PydanticUndefined


@dataclass(frozen=True, slots=True)
class Visibility:
    """A mark for a hidden or visible field, kept in the field's metadata, where Pydantic ignores it."""

    hidden: bool


@overload
def field(*, hidden: bool = False) -> Any: ...


@overload
def field(*, default: T, hidden: bool = False) -> T: ...


@overload
def field(*, default_factory: Callable[[], T], hidden: bool = False) -> T: ...


@known_options("field()", DefinitionError)
def field(*, default: Any = _UNSET, default_factory: Callable[[], Any] | None = None, hidden: bool = False) -> Any:
    """Declare a persistent field. A field without a default is required: ``on_create`` has to set it.

    Args:
        default: the value in a new object; each object gets a copy.
        default_factory: a function that returns the value for a new object.
        hidden: do not show the field to callers. The store, dumps and backups still contain it.

    Raises:
        DefinitionError: both defaults are given, or an option is unknown or has an invalid value.
    """
    check_flag("field()", "hidden", hidden)
    if default_factory is not None and not callable(default_factory):
        raise DefinitionError(
            f"field(): default_factory is {default_factory!r}; use a function without parameters, for example "
            "default_factory=list, or default=... for a value"
        )
    if default is not _UNSET and default_factory is not None:
        raise DefinitionError("field() takes default or default_factory, not both")
    make = cast("Any", FieldInfo)
    declared: FieldInfo = (
        make(default_factory=default_factory) if default_factory is not None else make(default=default)
    )
    declared.metadata.append(Visibility(hidden))
    return declared


def hidden_fields(owner: type[Any], hints: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the hidden fields of a class; the declaration in the most derived class decides.

    ``Annotated[str, field(hidden=True)]`` also hides a field.
    """
    return frozenset(name for name, hint in hints.items() if _is_hidden(owner, name, hint))


def _is_hidden(owner: type[Any], name: str, hint: Any) -> bool:
    declared = [*(vars(base).get(name) for base in owner.__mro__), *get_args(hint)]
    marks = (mark for each in declared if isinstance(each, FieldInfo) for mark in cast("list[object]", each.metadata))
    return next((mark.hidden for mark in marks if isinstance(mark, Visibility)), False)
