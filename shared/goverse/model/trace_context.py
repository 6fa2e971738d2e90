"""W3C trace context: the headers ``traceparent`` and ``tracestate`` (https://www.w3.org/TR/trace-context/).

1. A gate passes a valid context on. An invalid ``traceparent`` is dropped together with its ``tracestate``; an invalid
   ``tracestate`` is dropped alone.
2. A turn that serves a sampled call is a span of its own: the ``traceparent`` of its context, and of the calls that it
   makes, has the turn's span id. A call that is not sampled keeps the context as it is and costs nothing.
3. ``tracestate`` passes unchanged, because GoVerse adds no entry of its own.
"""

from __future__ import annotations

import random
import re
from typing import Final, NamedTuple

from goverse.limits import TRACESTATE_BYTES_MAX

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_MEMBER: Final = re.compile(
    r"([a-z0-9][a-z0-9_*/@-]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MEMBERS_MAX: Final = 32
_LONG_MEMBER: Final = 128
"""Members above this size are the first ones to go if a ``tracestate`` is too large."""

_SAMPLED_DIGITS: Final = frozenset("13579bdf")
_KNOWN_FLAGS: Final = 0x03  # sampled, and random trace id; the others must be sent as zero


class TraceContext(NamedTuple):
    """The two headers of a request; both are empty without a valid ``traceparent``."""

    traceparent: str
    tracestate: str


NO_TRACE: Final = TraceContext("", "")


def checked(traceparent: str, tracestate: str) -> TraceContext:
    """Return what of the two headers is valid."""
    if _TRACEPARENT.fullmatch(traceparent) is None:
        return NO_TRACE
    return TraceContext(traceparent, bounded_tracestate(tracestate) if tracestate else "")


def bounded_tracestate(value: str) -> str:
    """Return a ``tracestate`` without empty members, cut to the largest size; empty if it breaks the grammar."""
    members = [member for part in value.split(",") if (member := part.strip(" \t"))]
    if len(members) > _MEMBERS_MAX:
        return ""
    matches = [match for member in members if (match := _MEMBER.fullmatch(member))]
    if len(matches) < len(members) or len({match[1] for match in matches}) < len(members):
        return ""
    size = sum(map(len, members)) + len(members) - 1
    for is_dropped in (_is_long, _is_any):
        for at in range(len(members) - 1, -1, -1):
            if size > TRACESTATE_BYTES_MAX and is_dropped(members[at]):
                size -= len(members.pop(at)) + 1
    return ",".join(members)


def _is_long(member: str) -> bool:
    return len(member) > _LONG_MEMBER


def _is_any(_member: str) -> bool:
    return True


def is_sampled(traceparent: str) -> bool:
    """True if the caller records this trace. ``traceparent`` is a valid one, or empty."""
    return traceparent[-1:] in _SAMPLED_DIGITS


def trace_id(traceparent: str) -> str:
    """Return the id of the whole trace."""
    return traceparent[3:35]


def span_id(traceparent: str) -> str:
    """Return the id of the span that sent the request."""
    return traceparent[36:52]


def child_of(traceparent: str) -> str:
    """Return the context of a new span whose parent is that of ``traceparent``."""
    span = 0
    while not span:
        span = random.getrandbits(64)
    return f"00-{trace_id(traceparent)}-{span:016x}-{int(traceparent[-2:], 16) & _KNOWN_FLAGS:02x}"
