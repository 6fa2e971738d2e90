"""GoVerse: virtual objects for Python.

Write a typed class, call any instance of it over HTTP by name; it lives in memory on exactly one node, is durable
before the caller sees 200, and is called exactly once.
"""

from goverse.errors import (
    BusinessError,
    ConflictError,
    Deadlock,
    DefinitionError,
    GoverseError,
    MethodFailed,
    ObjectNotFound,
    Timeout,
    TryAgain,
    Unavailable,
)
from goverse.model.keys import ObjectKey
from goverse.objects.context import Context
from goverse.objects.method import call, migration
from goverse.objects.object import Object

__all__ = [
    "BusinessError",
    "ConflictError",
    "Context",
    "Deadlock",
    "DefinitionError",
    "GoverseError",
    "MethodFailed",
    "Object",
    "ObjectKey",
    "ObjectNotFound",
    "Timeout",
    "TryAgain",
    "Unavailable",
    "call",
    "migration",
]
