"""Which object types a process serves, and where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from goverse.errors import DefinitionError, UnknownMethod, UnknownType
from goverse.objects.spec import MethodSpec, TypeSpec


class Registry:
    """The object types of one application, by name."""

    def __init__(self, classes: Iterable[type[Any]]) -> None:
        """Compile the classes.

        Raises:
            DefinitionError: a class breaks a rule of the object model, or two have the same name.
        """
        types: dict[str, TypeSpec] = {}
        for user_class in classes:
            spec = TypeSpec.of(user_class)
            if spec.name in types and types[spec.name].cls is not user_class:
                raise DefinitionError(f"two classes are named {spec.name!r}; give one of them name='...'")
            types[spec.name] = spec
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


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
