"""GoVerse: virtual objects for Python.

Write a typed class and call any instance of it by name over HTTP. Each instance lives in memory on exactly one node.
Its state is durable before the caller gets a 200, and a call that is repeated with its idempotency key takes effect
once.
"""

from goverse.errors import (
    AccessDenied,
    BusinessError,
    ConflictError,
    DataNewer,
    Deadlock,
    DefinitionError,
    GoverseError,
    IdempotencyInProgress,
    IdempotencyKeyMismatch,
    InvalidArguments,
    KeptResultMismatch,
    MalformedRequest,
    MethodFailed,
    ObjectExists,
    ObjectNotFound,
    Overloaded,
    ReentrancyConflict,
    RequestError,
    Timeout,
    TooLarge,
    TryAgain,
    Unavailable,
    UnknownMethod,
    UnknownType,
    VersionMismatch,
)
from goverse.model.caller import Caller
from goverse.model.keys import ObjectKey
from goverse.model.records import ObjectSummary
from goverse.objects.context import Context
from goverse.objects.field import field
from goverse.objects.method import call, handler, migration, raises, view
from goverse.objects.object import Object
from goverse.objects.outcome import Outcome
from goverse.objects.process_hooks import on_start, on_stop
from goverse.objects.sagas import Saga
from goverse.objects.sending import OutboxCall, Sent

__all__ = [
    "AccessDenied",
    "BusinessError",
    "Caller",
    "ConflictError",
    "Context",
    "DataNewer",
    "Deadlock",
    "DefinitionError",
    "GoverseError",
    "IdempotencyInProgress",
    "IdempotencyKeyMismatch",
    "InvalidArguments",
    "KeptResultMismatch",
    "MalformedRequest",
    "MethodFailed",
    "Object",
    "ObjectExists",
    "ObjectKey",
    "ObjectNotFound",
    "ObjectSummary",
    "OutboxCall",
    "Outcome",
    "Overloaded",
    "ReentrancyConflict",
    "RequestError",
    "Saga",
    "Sent",
    "Timeout",
    "TooLarge",
    "TryAgain",
    "Unavailable",
    "UnknownMethod",
    "UnknownType",
    "VersionMismatch",
    "call",
    "field",
    "handler",
    "migration",
    "on_start",
    "on_stop",
    "raises",
    "view",
]
