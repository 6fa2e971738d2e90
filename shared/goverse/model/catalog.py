"""Descriptions of object types that a node publishes to gates.

They contain everything that a gate needs to document and serve the types, so gates import no application code.
"""

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
    """A business error that a method documents: HTTP status, code and a sentence that explains it."""

    status: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class MethodDescription:
    """One exported method. Schemas are JSON Schema 2020-12 with shared definitions under ``$defs``.

    ``timeout_s`` is the timeout that the method declares, or None if the configured default applies.
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
    """One object type: the schemas of its shown state and of its create arguments, and its methods by name.

    Attributes:
        has_view: True if a view computes the shown state.
        has_hidden: True if a field of the state is hidden.
        handlers: names of the methods that only other objects may call.
        create, delete: the permitted callers: ``anyone``, ``internal`` or ``nobody``.
        create_errors, delete_errors: business errors of the hooks ``on_create`` and ``on_delete``.
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
    """Return a catalog as the compressed JSON that a node publishes to gates."""
    types = [
        asdict(described) | {"methods": list(map(asdict, described.methods.values()))} for described in catalog.values()
    ]
    return zlib.compress(json.dumps(types, separators=(",", ":")).encode())


def decode_catalog(value: bytes) -> Catalog:
    """Return the catalog that ``encode_catalog`` wrote; members that this release does not know are ignored.

    Raises:
        DataDamaged: the value is not an encoded catalog.
    """
    try:
        types = json.loads(zlib.decompress(value))
        return {each["name"]: _type(each) for each in types}
    except (zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataDamaged(f"invalid catalog of object types: {error}") from error


def _type(members: Mapping[str, Any]) -> TypeDescription:
    methods = (_method(each) for each in members["methods"])
    return TypeDescription(
        members["name"],
        members["description"],
        members["state"],
        members["create_arguments"],
        {method.name: method for method in methods},
        members.get("state_version", 1),  # missing in catalogs of older releases
        members.get("has_view", False),
        tuple(members.get("handlers", ())),
        members.get("create", "anyone"),
        members.get("delete", "anyone"),
        _errors(members.get("create_errors", ())),
        _errors(members.get("delete_errors", ())),
        members.get("has_hidden", False),
    )


def _errors(errors: Iterable[Mapping[str, Any]]) -> tuple[ErrorDescription, ...]:
    return tuple(ErrorDescription(each["status"], each["code"], each["detail"]) for each in errors)


def _method(members: Mapping[str, Any]) -> MethodDescription:
    return MethodDescription(
        members["name"],
        members["summary"],
        members["description"],
        members["readonly"],
        members["arguments"],
        members["result"],
        _errors(members["errors"]),
        members["timeout_s"],
    )
