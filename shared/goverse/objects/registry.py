"""The registry of the object types that a process serves."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, NamedTuple

from goverse.errors import BusinessError, ConfigError, DefinitionError, UnknownMethod, UnknownType
from goverse.model.near_names import advice
from goverse.objects.policy import Who
from goverse.objects.spec import MethodSpec, TypeSpec

logger = logging.getLogger("goverse.objects")


class AccessRule(NamedTuple):
    """The configuration's access options for one type; None keeps the option of the class."""

    create: Who | None = None
    delete: Who | None = None


class Registry:
    """The object types of one application, by name."""

    def __init__(self, classes: Iterable[type[Any]], *, remedy: str = "") -> None:
        """Compile the classes. ``remedy`` is the advice in the error for a type that is not among them.

        Raises:
            DefinitionError: a class breaks a rule of the object model, two classes have the same name, or two
                unrelated business errors have the same code.
        """
        types: dict[str, TypeSpec] = {}
        for user_class in classes:
            spec = TypeSpec.of(user_class)
            if spec.name in types and types[spec.name].cls is not user_class:
                raise DefinitionError(f"two classes are named {spec.name!r}; give one of them name='...'")
            types[spec.name] = spec
        _check_codes(types.values())
        _warn_of_required_fields(types.values())
        self.types: Mapping[str, TypeSpec] = dict(sorted(types.items()))
        self._remedy = f"; {remedy}" if remedy else ""

    def __iter__(self) -> Iterator[TypeSpec]:
        """Iterate over the types, ordered by name."""
        return iter(self.types.values())

    def type(self, name: str) -> TypeSpec:
        """Return the type with this name.

        Raises:
            UnknownType: the type is not found; the message lists the types.
        """
        spec = self.types.get(name)
        if spec is None:
            listing = f"this application has {_names(self.types)}"
            hint = advice(name, self.types, listing)
            raise UnknownType(f"unknown object type {name!r}; {hint}{self._remedy if hint == listing else ''}")
        return spec

    def method(self, type_name: str, name: str) -> MethodSpec:
        """Return an exported method.

        Raises:
            UnknownType: the type is not found.
            UnknownMethod: the type does not export the method; the message lists those that it does.
        """
        spec = self.type(type_name)
        method = spec.methods.get(name)
        if method is None:
            raise unknown_method(spec, name, inside=False)
        return method

    def with_access(self, rules: Mapping[str, AccessRule]) -> Registry:
        """Return a registry of the same types with the access options of ``rules``.

        Raises:
            ConfigError: a rule names a type that the application does not have; the message suggests a similar name.
        """
        types = dict(self.types)
        for name, rule in rules.items():
            spec = types.get(name)
            if spec is None:
                nearest = get_close_matches(name, types, 1, 0.5)
                hint = f"did you mean objects.{nearest[0]}?" if nearest else f"it has {_names(types)}"
                raise ConfigError(f"objects.{name}: the application has no object type {name!r}; {hint}")
            options = {option: value for option, value in rule._asdict().items() if value is not None}
            types[name] = replace(spec, policy=replace(spec.policy, **options))
        changed = Registry(())
        changed.types = types
        return changed


def unknown_method(spec: TypeSpec, name: str, *, inside: bool) -> UnknownMethod:
    """Return the error for an unknown method; it lists handlers only for calls from other objects (``inside``)."""
    visible = [known for known, each in spec.methods.items() if inside or not each.handler]
    hint = advice(name, visible, f"it has {_names(visible)}")
    return UnknownMethod(f"{spec.name} exports no method {name!r}; {hint}")


def _check_codes(types: Iterable[TypeSpec]) -> None:
    """Check that the code of each declared business error identifies it.

    Raises:
        DefinitionError: two unrelated classes have the same code.
    """
    declared: dict[str, type[BusinessError]] = {}
    methods = (method for spec in types for method in (*spec.methods.values(), *spec.hooks.values()))
    for error in (error for method in methods for error in method.raises):
        if not issubclass(error, BusinessError):
            continue
        other = declared.setdefault(error.code, error)
        if not (issubclass(error, other) or issubclass(other, error)):
            raise DefinitionError(
                f"{_full_name(other)} and {_full_name(error)} have the same code {error.code!r}, so callers cannot "
                "distinguish them; change one of the codes"
            )


def _warn_of_required_fields(types: Iterable[TypeSpec]) -> None:
    """Log required fields of types without ``on_create``: the first call of a new object has to set them, or fails."""
    for spec in types:
        if spec.state.required and "on_create" not in spec.hooks:
            fields = ", ".join(f"{spec.name}.{field}" for field in spec.state.required)
            logger.warning(
                "fields have no default: %s; a call of a new object fails unless it sets them; give them defaults, or "
                "set them in on_create",
                fields,
            )


def _full_name(error: type[BusinessError]) -> str:
    return f"{error.__module__}.{error.__qualname__}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
