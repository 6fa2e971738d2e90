"""Which object types a process serves, and where they come from."""

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
    """What the configuration says about one type; None leaves what the class declares."""

    create: Who | None = None
    delete: Who | None = None


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
            told = advice(name, self.types, f"this application has {_names(self.types)}")
            raise UnknownType(f"there is no object type {name!r}; {told}")
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
            raise unknown_method(spec, name, inside=False)
        return method

    def with_access(self, rules: Mapping[str, AccessRule]) -> Registry:
        """Return the same types with other words for who may create and delete their objects.

        Raises:
            ConfigError: a rule is for a type that the application does not have; says which name is nearest.
        """
        types = dict(self.types)
        for name, rule in rules.items():
            spec = types.get(name)
            if spec is None:
                nearest = get_close_matches(name, types, 1, 0.5)
                told = f"did you mean objects.{nearest[0]}?" if nearest else f"it has {_names(types)}"
                raise ConfigError(f"objects.{name}: the application has no object type {name!r}; {told}")
            words = {option: word for option, word in rule._asdict().items() if word is not None}
            types[name] = replace(spec, policy=replace(spec.policy, **words))
        changed = Registry(())
        changed.types = types
        return changed


def unknown_method(spec: TypeSpec, name: str, *, inside: bool) -> UnknownMethod:
    """Return the refusal of a method that does not exist; handlers are named to other objects (``inside``) only."""
    called = [known for known, each in spec.methods.items() if inside or not each.handler]
    told = advice(name, called, f"it has {_names(called)}")
    return UnknownMethod(f"{spec.name} exports no method {name!r}; {told}")


def _check_codes(types: Iterable[TypeSpec]) -> None:
    """Pass if a caller can tell every declared business error by its code."""
    declared: dict[str, type[BusinessError]] = {}
    methods = (method for spec in types for method in (*spec.methods.values(), *spec.hooks.values()))
    for error in (error for method in methods for error in method.raises):
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
