"""Requests and replies between a gate and a node, and between two nodes.

A link carries these values in process or over gRPC; both sides see the same values either way. An error is sent as a
:class:`Problem`, never as an exception. A deadline is absolute, in the monotonic clock of the receiving process; a link
between processes sends the remaining time instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from goverse.errors import Executed, GoverseError
from goverse.limits import PROBLEM_DETAIL_BYTES_MAX
from goverse.model.caller import ANONYMOUS, Caller
from goverse.model.keys import ObjectKey
from goverse.model.problem_bounds import bounded_members, bounded_text
from goverse.model.receipts import Delivery

MUST_EXIST: Final = -1
"""A value of ``Request.if_match``: the object must exist, at any version (``If-Match: *``)."""


class Operation(IntEnum):
    """The operation of a request."""

    CALL = 1
    CREATE = 2
    READ = 3
    DELETE = 4
    SEND = 5
    """Send the object a reliable call whose sender it is itself. The reply is its status, once the call is durable."""
    CALLS = 6
    """Look at reliable calls, or operate them: ``method`` is a verb of ``goverse.model.call_verbs``."""


@dataclass(slots=True)
class Request:
    """One request to one object.

    Attributes:
        operation: the operation.
        key: the object.
        method: the exported method, for CALL; empty otherwise.
        body: the arguments as a JSON object in UTF-8, or empty for none.
        deadline: the time at which the caller stops waiting, in seconds of the monotonic clock.
        request_id: identifies the request in logs, answers and traces.
        idempotency_key: the caller's key, or None.
        if_match: the version that the object must have, or None for any. 0: the object must not exist. ``MUST_EXIST``:
            the object must exist, at any version.
        caller: the client that sent the request at the beginning of the call chain, without the objects of the chain.
        traceparent: W3C trace context; empty, or valid (``goverse.model.trace_context``).
        chain: the objects whose turns wait for this call, outermost first.
        attempt: number of earlier attempts; above 0, an earlier attempt may have been executed.
        fresh_key: the idempotency key was generated for this attempt, so no reply can be stored under it.
        reads_only: the call comes from a readonly turn, so only a readonly method may run.
        tracestate: the entries of tracing systems that belong to ``traceparent``, or empty.
        delivery: set if the request delivers a reliable call (``goverse.model.receipts``). The reply says whether the
            call is settled.
        delay_ms: for SEND, the time after which the call is due, in milliseconds; 0 for at once.
    """

    operation: Operation
    key: ObjectKey
    method: str
    body: bytes
    deadline: float
    request_id: str
    idempotency_key: str | None = None
    if_match: int | None = None
    caller: Caller = ANONYMOUS
    traceparent: str = ""
    chain: tuple[ObjectKey, ...] = ()
    attempt: int = 0
    fresh_key: bool = False
    reads_only: bool = False
    tracestate: str = ""
    delivery: Delivery | None = None
    delay_ms: int = 0


@dataclass(slots=True)
class Problem:
    """An error as it is sent to the caller; ``goverse.model.problem_bounds`` limits its size for links and logs.

    Attributes:
        code: stable name of the error.
        detail: one or two sentences for people.
        retryable: True if the same request may succeed later.
        extra: further members, JSON values. They belong to the code that raised the error; GoVerse does not read them.
        status: HTTP status that a business error declares; None if the gate maps ``code`` to a status.
        request_id: the request that failed; stored with the reply, so that a replay has the same bytes.
        executed: whether the request may have been executed (``goverse.ports.link``); None for an object's own answer.
        cause: the original exception, for tests in the same process; it is neither sent nor stored.
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
        """Return the problem that describes ``error``, cut to the bounds of a problem."""
        status: int | None = getattr(error, "status", None)
        detail = bounded_text(error.detail, PROBLEM_DETAIL_BYTES_MAX)
        extra = bounded_members(error.extra) if error.extra else error.extra
        return cls(error.code, detail, error.retryable, extra, status, request_id, error.link_verdict)


@dataclass(slots=True)
class Reply:
    """The reply to one request.

    Attributes:
        body: JSON in UTF-8: the result of a CALL, the state of a READ; empty for other operations and with a problem.
        version: the object's version that the reply reflects; 0 if the object does not exist.
        commit_seq: position of the newest commit that the reply depends on; 0 if it depends on no commit.
        created: True if the request created the object.
        replayed: True if the reply is the stored one of an earlier request with the same idempotency key.
        problem: the error, or None.
        settled: the reply to a delivery of which the receiver has a durable receipt. It is the outcome of the call: a
            result, a business error, or ``call_void`` if the call ended without running. The reply to any other
            delivery is not an outcome, and the sender tries again.
    """

    body: bytes = b""
    version: int = 0
    commit_seq: int = 0
    created: bool = False
    replayed: bool = False
    problem: Problem | None = None
    settled: bool = False
