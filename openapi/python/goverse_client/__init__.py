"""The Python client for GoVerse: call durable objects over HTTP, with safe retries and typed errors.

``GoVerse`` is the asynchronous client, ``GoVerseSync`` the synchronous one. Both have the same features.
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
