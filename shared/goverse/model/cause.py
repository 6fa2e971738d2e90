"""The cause of a change: the call that made it. It is stored with the change, so a history can name it.

A stored cause is a JSON array in UTF-8::

    [method, caller, request id, trace id, arguments, time]

Members at the end may be left out. A typical cause has some sixty bytes. The arguments and the time of the turn are
optional; with them, the turn can be run again. A reader ignores further members, which a later release may append.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson


class Cause(NamedTuple):
    """The call that made a change.

    Attributes:
        method: the method; empty for a request that created or deleted the object.
        caller: the caller that the gate identified; empty for an anonymous one.
        request_id: the id of the request.
        trace_id: the id of its trace, or empty.
        arguments: the arguments as JSON in UTF-8; None if they were not recorded.
        clock_ms: the time that the turn saw, in milliseconds since the epoch; None if it was not recorded.
    """

    method: str
    caller: str = ""
    request_id: str = ""
    trace_id: str = ""
    arguments: bytes | None = None
    clock_ms: int | None = None


def encode_call(method: str, caller: str, request_id: str, traceparent: str = "") -> bytes:
    """Return the stored form of a cause without arguments, from a request's members."""
    members = (method, caller, request_id, traceparent[3:35])  # the trace id is 32 digits after the version
    try:
        return orjson.dumps(members)
    except TypeError:  # half a surrogate pair, which UTF-8 cannot encode
        return orjson.dumps([each.encode(errors="replace").decode() for each in members])


def encode_cause(cause: Cause) -> bytes:
    """Return the stored form of ``cause``."""
    arguments = cause.arguments.decode() if cause.arguments is not None else None
    members: list[Any] = [*cause[:4], arguments, cause.clock_ms]
    while members and members[-1] in (None, ""):
        members.pop()
    return orjson.dumps(members)


def decode_cause(stored: bytes) -> Cause:
    """Return the cause from its stored form.

    Raises:
        ValueError: the bytes are not a stored cause.
    """
    members: Any = orjson.loads(stored)
    if members.__class__ is not list:
        raise ValueError("a cause is not a JSON array")
    method, caller, request_id, trace_id, arguments, clock_ms = (*members, *_NOTHING[len(members) :])[:6]
    return Cause(method, caller, request_id, trace_id, None if arguments is None else str(arguments).encode(), clock_ms)


_NOTHING: Final[tuple[Any, ...]] = ("", "", "", "", None, None)
