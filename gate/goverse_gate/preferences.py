"""Request headers of a call that is carried out later: ``Prefer``, ``GoVerse-Delay`` and ``GoVerse-Not-Before``.

``Prefer`` follows RFC 7240: preferences that are unknown or malformed are ignored, and the first one of a name counts.
The other two headers are the gate's own, so a value that is malformed is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from goverse.errors import MalformedRequest
from goverse.limits import CALL_WAIT_S_MAX, SEND_DELAY_S_MAX

LATER: Final = frozenset({b"goverse-delay", b"goverse-not-before", b"prefer"})
"""The headers that make a call leave the fast path."""

DELAY_S_MAX: Final = int(SEND_DELAY_S_MAX)

_SECONDS: Final = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_DIGITS: Final = re.compile(rb"[0-9]{1,9}")
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_HTTP_DATE: Final = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_PREFERENCE: Final = re.compile(
    rb'[ \t]*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^",; \t]*))?'
)
_BETWEEN: Final = re.compile(rb'(?:[^",]|"(?:[^"\\]|\\.)*")*')  # parameters of a preference, up to the next comma


class Deferral(NamedTuple):
    """The wish of a client that a call is accepted now and carried out later.

    Attributes:
        delay_ms: the time after which the call is due.
        wait_s: the time that the client waits for the result before it takes a 202; 0 for none.
    """

    delay_ms: int
    wait_s: int


def deferral_of(found: Mapping[bytes, bytes], wall_ms: int) -> Deferral | None:
    """Return the deferral that the headers ask for, or None for a call that is answered with its result.

    Raises:
        MalformedRequest: a header is malformed, or a time is given without ``Prefer: respond-async``.
    """
    preferences = _preferences(found.get(b"prefer", b""))
    delay, not_before = found.get(b"goverse-delay"), found.get(b"goverse-not-before")
    if b"respond-async" not in preferences:
        if delay is not None or not_before is not None:
            name = "GoVerse-Delay" if delay is not None else "GoVerse-Not-Before"
            raise MalformedRequest(
                f"{name} is for calls that are answered before they run; add the header Prefer: respond-async"
            )
        return None
    if delay is not None and not_before is not None:
        raise MalformedRequest("GoVerse-Delay and GoVerse-Not-Before exclude each other; send one of them")
    wait = preferences.get(b"wait", b"")
    wait_s = min(int(wait), CALL_WAIT_S_MAX) if _DIGITS.fullmatch(wait) else 0
    if delay is not None:
        return Deferral(_delay_ms(delay), wait_s)
    return Deferral(0 if not_before is None else _until_ms(not_before, wall_ms), wait_s)


def _preferences(value: bytes) -> dict[bytes, bytes]:
    """Return the preferences of a ``Prefer`` header by name, in lower case."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(value):
        match = _PREFERENCE.match(value, at)
        if match is not None:
            found.setdefault(match[1].lower(), (match[2] or b"").strip(b'"'))
            at = match.end()
        rest = _BETWEEN.match(value, at)
        at = (at if rest is None else rest.end()) + 1  # behind the comma, or behind a quote without an end
    return found


def _delay_ms(value: bytes) -> int:
    seconds = float(value) if _SECONDS.fullmatch(value) else -1.0
    if not 0 <= seconds <= DELAY_S_MAX:
        raise MalformedRequest(
            f"invalid GoVerse-Delay: expected a number of seconds from 0 to {DELAY_S_MAX}, for example 90"
        )
    return round(seconds * 1000)


def _until_ms(value: bytes, wall_ms: int) -> int:
    delay_ms = max(0, round(_time(value.decode("latin-1")).timestamp() * 1000) - wall_ms)
    if delay_ms > DELAY_S_MAX * 1000:
        raise MalformedRequest(f"invalid GoVerse-Not-Before: more than {DELAY_S_MAX} seconds from now")
    return delay_ms


def _time(text: str) -> datetime:
    try:
        if _RFC_3339.fullmatch(text):
            return datetime.fromisoformat(text.upper())
        if _HTTP_DATE.fullmatch(text):
            return parsedate_to_datetime(text).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass  # a field is out of range; the error below says what is expected
    raise MalformedRequest(
        "invalid GoVerse-Not-Before: expected a time with its zone, for example 2030-01-31T08:00:00Z, or an HTTP date"
    )
