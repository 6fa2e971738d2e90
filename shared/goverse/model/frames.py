"""What travels between a gate and a node, and between two nodes: one request, one reply.

A link carries these values, in process or over gRPC, and neither side can tell the difference. Errors travel as
:class:`Problem`, never as exceptions. Deadlines are absolute on the receiving process's monotonic clock; a link that
crosses processes sends the time that remains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from goverse.errors import Executed, GoverseError
from goverse.limits import PROBLEM_DETAIL_BYTES_MAX
from goverse.model.keys import ObjectKey
from goverse.model.problem_bounds import bounded_members, bounded_text

MUST_EXIST: Final = -1
"""As ``Request.if_match``: any version will do, but the object must exist (``If-Match: *``)."""


class Operation(IntEnum):
    """What a request asks for."""

    CALL = 1
    CREATE = 2
    READ = 3
    DELETE = 4


@dataclass(slots=True)
class Request:
    """One request to one object.

    Attributes:
        operation: what to do.
        key: the object.
        method: the exported method, for CALL; empty otherwise.
        body: the arguments as a JSON object in UTF-8, or empty for none.
        deadline: when the caller stops waiting, in seconds of the monotonic clock.
        request_id: names the request in logs, answers and traces.
        idempotency_key: the caller's key, or None.
        if_match: the version that the object must have, or None for any; 0 means that it must not exist, ``MUST_EXIST``
            that it must, at whatever version.
        caller: who asks, as the gate established it; empty for an anonymous caller.
        traceparent: W3C trace context, or empty.
        chain: the objects whose turns wait for this call, outermost first.
        attempt: how often it was sent before; more than 0 means that an earlier attempt may have been executed.
        fresh_key: the idempotency key was made for this attempt, so it cannot have been used before.
        reads_only: a readonly turn makes this call, so only a readonly method may run.
    """

    operation: Operation
    key: ObjectKey
    method: str
    body: bytes
    deadline: float
    request_id: str
    idempotency_key: str | None = None
    if_match: int | None = None
    caller: str = ""
    traceparent: str = ""
    chain: tuple[ObjectKey, ...] = ()
    attempt: int = 0
    fresh_key: bool = False
    reads_only: bool = False


@dataclass(slots=True)
class Problem:
    """An error on its way to the caller, small enough for every link and log (``goverse.model.problem_bounds``).

    Attributes:
        code: stable name of the error.
        detail: one or two sentences for people.
        retryable: the same request may succeed later.
        extra: further members, JSON values. They belong to whoever raised the error; nothing in GoVerse acts on them.
        status: HTTP status that a business error declares; None where the gate's table decides.
        request_id: the request that met the error, kept so that a replay is the same byte for byte.
        executed: what is known about the request (``goverse.ports.link``); None for an object's own answer.
        cause: the exception behind it, for tests in the same process; it crosses no link and is not stored.
    """

    code: str
    detail: str
    retryable: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    status: int | None = None
    request_id: str = ""
    executed: Executed | None = None
    cause: BaseException | None = field(default=None, compare=False, repr=False, kw_only=True)

    @classmethod
    def of(cls, error: GoverseError, request_id: str = "") -> Problem:
        """Describe ``error`` for the way to the caller; what exceeds the bounds of a problem is cut."""
        status: int | None = getattr(error, "status", None)
        detail = bounded_text(error.detail, PROBLEM_DETAIL_BYTES_MAX)
        extra = bounded_members(error.extra) if error.extra else error.extra
        return cls(error.code, detail, error.retryable, extra, status, request_id, error.link_verdict)


@dataclass(slots=True)
class Reply:
    """The answer to one request.

    Attributes:
        body: JSON in UTF-8: a CALL's result, a READ's state; empty where there is none or ``problem`` is set.
        version: the object's version that the answer reflects; 0 when it does not exist.
        commit_seq: position of the newest commit that the answer depends on; 0 when it depends on none.
        created: the request brought the object into being.
        replayed: the answer is the stored one of an earlier request with the same idempotency key.
        problem: what went wrong, or None.
    """

    body: bytes = b""
    version: int = 0
    commit_seq: int = 0
    created: bool = False
    replayed: bool = False
    problem: Problem | None = None
