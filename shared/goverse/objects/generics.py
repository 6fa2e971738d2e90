"""Replacement of the type parameters of generic base classes.

In ``class Users(Repo[User])``, ``T`` of ``Repo`` is ``User``. Python records that in ``__orig_bases__`` but does not
change the annotations of ``Repo``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from goverse.errors import DefinitionError

Parameters = Mapping[Any, Any]


def parameters_of(user_class: type[Any]) -> dict[type[Any], Parameters]:
    """Return, for a class and each of its bases, the types to use for the type parameters."""
    found: dict[type[Any], Parameters] = {user_class: {}}
    waiting = [user_class]
    while waiting:
        current = waiting.pop()
        for base in vars(current).get("__orig_bases__", ()):
            origin = get_origin(base)
            if not isinstance(origin, type):
                continue
            names = getattr(origin, "__parameters__", ())
            given = (substituted(argument, found[current]) for argument in get_args(base))
            found.setdefault(origin, dict(zip(names, given, strict=False)))
        for base in current.__bases__:
            found.setdefault(base, {})
            waiting.append(base)
    return found


def substituted(hint: Any, parameters: Parameters) -> Any:
    """Return ``hint`` with all known type parameters replaced."""
    if isinstance(hint, TypeVar):
        return parameters.get(hint, hint)
    metadata = getattr(hint, "__pydantic_generic_metadata__", None)
    if isinstance(hint, type) and isinstance(metadata, dict) and metadata["parameters"]:
        known = cast("dict[str, Any]", metadata)
        origin: Any = known["origin"] or hint
        arguments = known["args"] or known["parameters"]
        return origin[tuple(substituted(argument, parameters) for argument in arguments)]
    origin, arguments = get_origin(hint), get_args(hint)
    if not arguments or origin is Literal:
        return hint
    if origin is Annotated:
        return Annotated[(substituted(arguments[0], parameters), *hint.__metadata__)]
    replaced = tuple(_argument(argument, parameters) for argument in arguments)
    if replaced == arguments:
        return hint
    if _is_union(origin):
        return Union[replaced]  # noqa: UP007  # the parts are known only at run time
    generic: Any = origin
    return generic[replaced]


def _argument(argument: Any, parameters: Parameters) -> Any:
    if isinstance(argument, list):  # the parameters of a Callable
        return [substituted(item, parameters) for item in cast("list[object]", argument)]
    return substituted(argument, parameters)


def _is_union(origin: Any) -> bool:
    return origin is Union or getattr(origin, "__qualname__", "") in ("UnionType", "Union")


def resolved(owner: str, hint: Any, parameters: Parameters) -> Any:
    """Return ``hint`` with all type parameters replaced.

    Raises:
        DefinitionError: the class gives no type for a type parameter.
    """
    hint = substituted(hint, parameters)
    unknown = _parameter_in(hint)
    if unknown is not None:
        raise DefinitionError(
            f"{owner}: the type parameter {unknown.__name__} has no value; derive the class from a base with the type "
            f"in brackets, for example class Users(Repository[User]), or annotate with a type"
        )
    return hint


def _parameter_in(hint: Any) -> TypeVar | None:
    if isinstance(hint, TypeVar):
        return hint
    metadata = getattr(hint, "__pydantic_generic_metadata__", None)
    if isinstance(hint, type) and isinstance(metadata, dict):
        arguments: Any = cast("dict[str, Any]", metadata)["args"]
    elif get_origin(hint) is Literal:
        return None
    else:
        arguments = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    for argument in arguments:
        inner = cast("list[object]", argument) if isinstance(argument, list) else [argument]
        for item in inner:
            found = _parameter_in(item)
            if found is not None:
                return found
    return None
