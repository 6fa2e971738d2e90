"""``field``: the default of a persistent field, and whether the field is shown to callers.

    note: str = field(default="", hidden=True)
    tags: list[str] = field(default_factory=list)

A hidden field is stored like any other. ``GET``, listings and the API documentation leave it out. It stays hidden in
subclasses that give it another default; only ``field(hidden=False)`` in a subclass shows it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast, get_args, overload

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from goverse.errors import DefinitionError
from goverse.objects.declaration import check_flag

T = TypeVar("T")

_UNSET: Final[Any] = PydanticUndefined


@dataclass(frozen=True, slots=True)
class Visibility:
    """Marks a field as hidden or shown; Pydantic carries it in the metadata of the field and ignores it."""

    hidden: bool


@overload
def field(*, hidden: bool = False) -> Any: ...


@overload
def field(*, default: T, hidden: bool = False) -> T: ...


@overload
def field(*, default_factory: Callable[[], T], hidden: bool = False) -> T: ...


def field(*, default: Any = _UNSET, default_factory: Callable[[], Any] | None = None, hidden: bool = False) -> Any:
    """Declare a persistent field; without a default it is required, and ``on_create`` has to set it.

    Args:
        default: the value of a new object, copied for each.
        default_factory: makes the value of a new object.
        hidden: leave the field out of everything that callers see. It is in the store, in dumps and in backups.

    Raises:
        DefinitionError: there are two defaults, or an option has a value that it cannot have.
    """
    check_flag("field()", "hidden", hidden)
    if default_factory is not None and not callable(default_factory):
        raise DefinitionError(
            f"field(): default_factory is {default_factory!r}; give a function without parameters, as "
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
    """Return which fields of a class are hidden; the most derived declaration counts.

    ``Annotated[str, field(hidden=True)]`` hides a field as well.
    """
    return frozenset(name for name, hint in hints.items() if _is_hidden(owner, name, hint))


def _is_hidden(owner: type[Any], name: str, hint: Any) -> bool:
    declared = [*(vars(base).get(name) for base in owner.__mro__), *get_args(hint)]
    marks = (mark for each in declared if isinstance(each, FieldInfo) for mark in cast("list[object]", each.metadata))
    return next((mark.hidden for mark in marks if isinstance(mark, Visibility)), False)
