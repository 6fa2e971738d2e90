"""GoVerse: virtual objects for Python.

Write a typed class, call any instance of it over HTTP by name; it lives in memory on exactly one node, is durable
before the caller sees 200, and is called exactly once.
"""

from goverse.errors import (
    AccessDenied,
    BusinessError,
    ConflictError,
    Deadlock,
    DefinitionError,
    GoverseError,
    InvalidArguments,
    MethodFailed,
    ObjectExists,
    ObjectNotFound,
    Timeout,
    TryAgain,
    Unavailable,
)
from goverse.model.keys import ObjectKey
from goverse.model.records import ObjectSummary
from goverse.objects.context import Context
from goverse.objects.field import field
from goverse.objects.method import call, handler, migration, raises, view
from goverse.objects.object import Object

__all__ = [
    "AccessDenied",
    "BusinessError",
    "ConflictError",
    "Context",
    "Deadlock",
    "DefinitionError",
    "GoverseError",
    "InvalidArguments",
    "MethodFailed",
    "Object",
    "ObjectExists",
    "ObjectKey",
    "ObjectNotFound",
    "ObjectSummary",
    "Timeout",
    "TryAgain",
    "Unavailable",
    "call",
    "field",
    "handler",
    "migration",
    "raises",
    "view",
]
