"""The Python client of GoVerse: objects called by name, repeated safely, with typed errors.

``GoVerse`` is for programs with ``async``, ``GoVerseSync`` for those without; both do the same.
"""

from goverse_client.client import Client, GoVerse, Handle, ObjectHandle
from goverse_client.errors import (
    AccessDenied,
    BusinessError,
    CallTimeout,
    ConnectionFailed,
    GoverseError,
    IdempotencyKeyMismatch,
    InvalidArguments,
    MalformedRequest,
    MethodFailed,
    ObjectExists,
    ObjectNotFound,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    UnknownMethod,
    UnknownType,
    VersionMismatch,
)
from goverse_client.requests import Options, Reply, Summary
from goverse_client.retries import NEVER, RetryPolicy
from goverse_client.sync import ClientSync, GoVerseSync, HandleSync, ObjectHandleSync

__all__ = [
    "NEVER",
    "AccessDenied",
    "BusinessError",
    "CallTimeout",
    "Client",
    "ClientSync",
    "ConnectionFailed",
    "GoVerse",
    "GoVerseSync",
    "GoverseError",
    "Handle",
    "HandleSync",
    "IdempotencyKeyMismatch",
    "InvalidArguments",
    "MalformedRequest",
    "MethodFailed",
    "ObjectExists",
    "ObjectHandle",
    "ObjectHandleSync",
    "ObjectNotFound",
    "Options",
    "Overloaded",
    "Reply",
    "RetryPolicy",
    "Summary",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "UnknownMethod",
    "UnknownType",
    "VersionMismatch",
]
