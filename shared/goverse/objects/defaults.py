"""Defaults of fields: each object gets a value of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from goverse.errors import MethodFailed

NO_VALUE: Any = PydanticUndefined


def has_default(declared: Any) -> bool:
    """Whether the class attribute of a field gives it a default."""
    if isinstance(declared, FieldInfo):
        return not declared.is_required()
    return declared is not NO_VALUE


def default_maker(default: Any) -> Callable[[], Any]:
    """Return a function that gives each object a default of its own; it raises MethodFailed where it cannot."""
    if isinstance(default, FieldInfo):
        return partial(_made, partial(default.get_default, call_default_factory=True, validated_data={}))
    if isinstance(default, str | int | float | bool | bytes | None):
        return partial(_same, default)
    return partial(_made, partial(copy.deepcopy, default))


def _made(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:
        raise MethodFailed(f"a default value could not be made: {type(error).__name__}") from error


def _same(value: Any) -> Any:
    return value


def constrained(hint: Any, declared: FieldInfo) -> Any:
    """Return ``hint`` with the constraints of ``Field(...)`` but without its default, which we handle ourselves."""
    bare = FieldInfo(
        annotation=hint, description=declared.description, title=declared.title, examples=declared.examples
    )
    return Annotated[(hint, *declared.metadata, bare)]
