"""What a call can end with instead of a result.

Every error has the stable ``code`` of the problem document that the gate answered with (RFC 9457), so a program decides
by class or by code. A refusal of the application's own has its own code and is a ``BusinessError``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast


class GoverseError(Exception):
    """A request that gave no result.

    Attributes:
        code: the stable code.
        status: of the HTTP answer; 0 where there was none.
        detail: what happened, for people.
        retryable: whether the same request may succeed later. The client has repeated it already, as long as its
            policy and its time allowed.
        request_id: names the request in the gate's log; empty where there was no answer.
        retry_after_s: how long the gate asked to wait, or None.
        attempts: how often the request was sent.
        extra: what else the problem says, by its name.
    """

    code: str = "error"

    def __init__(
        self,
        detail: str,
        *,
        code: str = "",
        status: int = 0,
        retryable: bool = False,
        request_id: str = "",
        retry_after_s: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Describe what happened."""
        super().__init__(detail)
        self.code = code or type(self).code
        self.status = status
        self.detail = detail
        self.retryable = retryable
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.attempts = 0
        self.extra: Mapping[str, Any] = extra or {}

    def __str__(self) -> str:
        """Say code, what happened, and where to look."""
        tries = f", tried {self.attempts} times" if self.attempts > 1 else ""
        named = f" (request {self.request_id}{tries})" if self.request_id else f" ({tries[2:]})" if tries else ""
        return printable(f"{self.code}: {self.detail}{named}")


class ConnectionFailed(GoverseError):
    """No answer came: the gate cannot be reached, or the connection broke. A call may have happened, or not."""

    code = "connection_failed"


class CallTimeout(GoverseError):
    """The time of the call was over. It may have happened, or happen yet."""

    code = "timeout"


class Unauthenticated(GoverseError):
    """The gate does not know the caller."""

    code = "unauthenticated"


class AccessDenied(GoverseError):
    """The caller may not do this."""

    code = "access_denied"


class MalformedRequest(GoverseError):
    """The request is not well formed; ``status`` 0 and ``attempts`` 0 where the client found that before it sent it."""

    code = "malformed_request"


class InvalidArguments(GoverseError):
    """The arguments do not fit the method."""

    code = "invalid_arguments"

    @property
    def errors(self) -> list[Mapping[str, str]]:
        """Each with the ``path`` of the argument (a JSON pointer) and a ``message``."""
        found: object = self.extra.get("errors")
        fields = cast("list[object]", found) if isinstance(found, list) else []
        return [cast("Mapping[str, str]", field) for field in fields if isinstance(field, dict)]


class UnknownType(GoverseError):
    """No object type has this name."""

    code = "unknown_type"


class UnknownMethod(GoverseError):
    """The type has no such method."""

    code = "unknown_method"


class ObjectNotFound(GoverseError):
    """The object does not exist."""

    code = "object_not_found"


class ObjectExists(GoverseError):
    """The object exists already."""

    code = "object_exists"


class VersionMismatch(GoverseError):
    """The object is not at the version that was asked for."""

    code = "version_mismatch"


class IdempotencyKeyMismatch(GoverseError):
    """The key was used before, with another method or other arguments."""

    code = "idempotency_key_mismatch"


class TooLarge(GoverseError):
    """Arguments, result or state are larger than their limit."""

    code = "too_large"


class Overloaded(GoverseError):
    """A queue is full."""

    code = "overloaded"


class Unavailable(GoverseError):
    """The service cannot carry out the request now."""

    code = "unavailable"


class MethodFailed(GoverseError):
    """The method raised an error; the object is as it was."""

    code = "method_failed"


class BusinessError(GoverseError):
    """A refusal in the words of the application; ``code`` says which."""

    code = "business_error"


class UnexpectedAnswer(GoverseError):
    """Something that is no gate answered (a redirect, a page), or a gate in a way that this client does not know."""

    code = "unexpected_answer"


_BY_CODE: Final[Mapping[str, type[GoverseError]]] = {
    kind.code: kind
    for kind in (
        AccessDenied,
        CallTimeout,
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
        UnknownMethod,
        UnknownType,
        VersionMismatch,
    )
}
_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "code", "retryable", "request_id"})
_RETRYABLE: Final = frozenset({429, 502, 503, 504})  # of a proxy on the way, which says no more


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> GoverseError:
    """Return the error that an answer means; ``headers`` by lower-case names."""
    retry_after_s = _seconds(headers.get("retry-after"))
    request_id = headers.get("goverse-request-id", "")
    problem = _problem(headers, content)
    if problem is None:
        kind: type[GoverseError] = Unavailable if status in _RETRYABLE else UnexpectedAnswer
        return kind(
            f"the answer {status} is not one of a gate: {_seen(headers, content)}",
            status=status,
            retryable=status in _RETRYABLE,
            request_id=request_id,
            retry_after_s=retry_after_s,
        )
    code = str(problem["code"])
    return _kind_of(status, code)(
        str(problem.get("detail") or problem.get("title") or code),
        code=code,
        status=status,
        retryable=problem.get("retryable") is True,
        request_id=str(problem.get("request_id", request_id)),
        retry_after_s=retry_after_s,
        extra={name: value for name, value in problem.items() if name not in _MEMBERS},
    )


def _kind_of(status: int, code: str) -> type[GoverseError]:
    known = _BY_CODE.get(code)
    if known is not None:
        return known
    if status in _RETRYABLE:
        return Unavailable
    return BusinessError if 400 <= status < 500 else GoverseError


def printable(text: str) -> str:
    """Return a text with its control characters escaped: what a server sends must not steer a terminal or forge a log.

    Line feeds and everything else that is not printable become escapes of Python, such as ``\\x1b``.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def media_type(headers: Mapping[str, str]) -> str:
    """Return what an answer's body says it is, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _seen(headers: Mapping[str, str], content: bytes) -> str:
    body = repr(content[:200].decode(errors="replace"))
    location = headers.get("location")
    return (
        body if location is None else f"{body}; it points to {location!r}, so give the client the address of the gate"
    )


def _problem(headers: Mapping[str, str], content: bytes) -> dict[str, Any] | None:
    if media_type(headers) != "application/problem+json":
        return None
    try:
        problem = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(problem, dict) or not isinstance(cast("dict[str, Any]", problem).get("code"), str):
        return None
    return cast("dict[str, Any]", problem)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:  # a date, which no gate sends
        return None
    return seconds if 0 <= seconds < float("inf") else None
