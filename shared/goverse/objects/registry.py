"""Which object types a process serves, and where they come from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from goverse.errors import BusinessError, DefinitionError, UnknownMethod, UnknownType
from goverse.objects.spec import MethodSpec, TypeSpec

logger = logging.getLogger("goverse.objects")


class Registry:
    """The object types of one application, by name."""

    def __init__(self, classes: Iterable[type[Any]]) -> None:
        """Compile the classes.

        Raises:
            DefinitionError: a class breaks a rule of the object model, two have the same name, or two unrelated
                business errors the same code.
        """
        types: dict[str, TypeSpec] = {}
        for user_class in classes:
            spec = TypeSpec.of(user_class)
            if spec.name in types and types[spec.name].cls is not user_class:
                raise DefinitionError(f"two classes are named {spec.name!r}; give one of them name='...'")
            types[spec.name] = spec
        _check_codes(types.values())
        _tell_missing_values(types.values())
        self.types: Mapping[str, TypeSpec] = dict(sorted(types.items()))

    def __iter__(self) -> Iterator[TypeSpec]:
        """Go through the types by name."""
        return iter(self.types.values())

    def type(self, name: str) -> TypeSpec:
        """Return the type of that name.

        Raises:
            UnknownType: there is none; says which there are.
        """
        spec = self.types.get(name)
        if spec is None:
            raise UnknownType(f"there is no object type {name!r}; this application has {_names(self.types)}")
        return spec

    def method(self, type_name: str, name: str) -> MethodSpec:
        """Return an exported method.

        Raises:
            UnknownType: there is no such type.
            UnknownMethod: the type exports no such method; says which it does.
        """
        spec = self.type(type_name)
        method = spec.methods.get(name)
        if method is None:
            raise UnknownMethod(f"{type_name} exports no method {name!r}; it has {_names(spec.methods)}")
        return method


def _check_codes(types: Iterable[TypeSpec]) -> None:
    """Pass if a caller can tell every declared business error by its code."""
    declared: dict[str, type[BusinessError]] = {}
    for error in (error for spec in types for method in spec.methods.values() for error in method.raises):
        if not issubclass(error, BusinessError):
            continue
        other = declared.setdefault(error.code, error)
        if not (issubclass(error, other) or issubclass(other, error)):
            raise DefinitionError(
                f"{_place(other)} and {_place(error)} have the same code {error.code!r}; "
                "callers could not tell them apart"
            )


def _tell_missing_values(types: Iterable[TypeSpec]) -> None:
    """Log fields that only a first call could give a value: any other call of a new object fails."""
    for spec in types:
        if spec.state.required and "on_create" not in spec.hooks:
            fields = ", ".join(f"{spec.name}.{field}" for field in spec.state.required)
            logger.warning(
                "fields have no default: %s; a call of a new object fails unless it sets them; give them defaults, or "
                "set them in on_create",
                fields,
            )


def _place(error: type[BusinessError]) -> str:
    return f"{error.__module__}.{error.__qualname__}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
