"""What a node tells about its object types: enough for a gate to document and offer them, without their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    """One object type: the schema of its state, of its create arguments, and its methods by name."""

    name: str
    description: str
    state: JsonSchema
    create_arguments: JsonSchema
    methods: Mapping[str, MethodDescription]


Catalog = Mapping[str, TypeDescription]
