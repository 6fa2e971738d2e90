"""What a node tells about its object types: enough for a gate to document and offer them, without their classes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from goverse.errors import DataDamaged

JsonSchema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ErrorDescription:
    """A business error that a method documents: its HTTP status, code, and meaning in one sentence."""

    status: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class MethodDescription:
    """One exported method; schemas are JSON Schema 2020-12, shared definitions under ``$defs``.

    ``timeout_s`` is the time that the method declares for itself; None where the configured default holds.
    """

    name: str
    summary: str
    description: str
    readonly: bool
    arguments: JsonSchema
    result: JsonSchema
    errors: tuple[ErrorDescription, ...] = ()
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class TypeDescription:
    """One object type: the schema of what is shown of it, of its create arguments, and its methods by name.

    Attributes:
        has_view: a view makes what is shown of the state.
        has_hidden: a field of the state is not shown.
        handlers: methods that only other objects call, by name.
        create, delete: who may do that: ``anyone``, ``internal`` or ``nobody``.
        create_errors, delete_errors: business errors of the hooks.
    """

    name: str
    description: str
    state: JsonSchema
    create_arguments: JsonSchema
    methods: Mapping[str, MethodDescription]
    state_version: int = 1
    has_view: bool = False
    handlers: tuple[str, ...] = ()
    create: str = "anyone"
    delete: str = "anyone"
    create_errors: tuple[ErrorDescription, ...] = ()
    delete_errors: tuple[ErrorDescription, ...] = ()
    has_hidden: bool = False


Catalog = Mapping[str, TypeDescription]


def encode_catalog(catalog: Catalog) -> bytes:
    """Return a catalog as compressed JSON, as a node publishes it to gates."""
    types = [
        asdict(described) | {"methods": list(map(asdict, described.methods.values()))} for described in catalog.values()
    ]
    return zlib.compress(json.dumps(types, separators=(",", ":")).encode())


def decode_catalog(value: bytes) -> Catalog:
    """Read a catalog back; members that this release does not know are left out.

    Raises:
        DataDamaged: it is not what ``encode_catalog`` wrote.
    """
    try:
        types = json.loads(zlib.decompress(value))
        return {each["name"]: _type(each) for each in types}
    except (zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataDamaged(f"a catalog cannot be read: {error}") from error


def _type(told: Mapping[str, Any]) -> TypeDescription:
    methods = (_method(each) for each in told["methods"])
    return TypeDescription(
        told["name"],
        told["description"],
        told["state"],
        told["create_arguments"],
        {method.name: method for method in methods},
        told.get("state_version", 1),  # nodes of older releases do not tell it
        told.get("has_view", False),
        tuple(told.get("handlers", ())),
        told.get("create", "anyone"),
        told.get("delete", "anyone"),
        _errors(told.get("create_errors", ())),
        _errors(told.get("delete_errors", ())),
        told.get("has_hidden", False),
    )


def _errors(told: Iterable[Mapping[str, Any]]) -> tuple[ErrorDescription, ...]:
    return tuple(ErrorDescription(each["status"], each["code"], each["detail"]) for each in told)


def _method(told: Mapping[str, Any]) -> MethodDescription:
    return MethodDescription(
        told["name"],
        told["summary"],
        told["description"],
        told["readonly"],
        told["arguments"],
        told["result"],
        _errors(told["errors"]),
        told["timeout_s"],
    )
