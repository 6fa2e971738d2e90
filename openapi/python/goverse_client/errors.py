"""Errors that a request can raise.

Every error has the stable ``code`` from the gate's problem document (RFC 9457). Programs can distinguish errors by
class or by code. Errors that the application defines have codes of their own and are ``BusinessError``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast


class GoverseError(Exception):
    """A failed request. Base class of all errors of the client.

    Attributes:
        code: the stable code.
        status: the HTTP status of the response; 0 without a response.
        detail: a description for people.
        retryable: True if the same request may succeed later. The client has already retried it as far as the retry
            policy and the timeout allowed.
        request_id: the request id in the gate's log; empty without a response.
        retry_after_s: the pause that the gate asked for, or None.
        attempts: the number of times the request was sent.
        extra: additional members of the problem document, by name.
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
        """Store the fields. An empty ``code`` is replaced by the code of the class."""
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
        """Return code, detail, request id and number of attempts."""
        tries = f", tried {self.attempts} times" if self.attempts > 1 else ""
        named = f" (request {self.request_id}{tries})" if self.request_id else f" ({tries[2:]})" if tries else ""
        return printable(f"{self.code}: {self.detail}{named}")


class ConnectionFailed(GoverseError):
    """No response: the gate is unreachable, or the connection broke. The call may or may not have run."""

    code = "connection_failed"


class CallTimeout(GoverseError):
    """The timeout of the call passed. The call may have run, or may still run."""

    code = "timeout"


class Unauthenticated(GoverseError):
    """The request has no valid credentials."""

    code = "unauthenticated"


class AccessDenied(GoverseError):
    """The caller is not allowed to do this."""

    code = "access_denied"


class MalformedRequest(GoverseError):
    """The request is malformed. If the client detected this before sending, ``status`` and ``attempts`` are 0."""

    code = "malformed_request"


class InvalidArguments(GoverseError):
    """The arguments do not match the parameters of the method."""

    code = "invalid_arguments"

    @property
    def errors(self) -> list[Mapping[str, str]]:
        """The invalid arguments, each with a ``path`` (a JSON pointer) and a ``message``."""
        found: object = self.extra.get("errors")
        fields = cast("list[object]", found) if isinstance(found, list) else []
        return [cast("Mapping[str, str]", field) for field in fields if isinstance(field, dict)]


class UnknownType(GoverseError):
    """The object type does not exist."""

    code = "unknown_type"


class UnknownMethod(GoverseError):
    """The type has no such method."""

    code = "unknown_method"


class ObjectNotFound(GoverseError):
    """The object does not exist."""

    code = "object_not_found"


class ObjectExists(GoverseError):
    """The object already exists."""

    code = "object_exists"


class VersionMismatch(GoverseError):
    """The object does not have the requested version."""

    code = "version_mismatch"


class IdempotencyKeyMismatch(GoverseError):
    """The idempotency key was used before with another method or other arguments."""

    code = "idempotency_key_mismatch"


class TooLarge(GoverseError):
    """The arguments, the result or the state exceed their size limit."""

    code = "too_large"


class Overloaded(GoverseError):
    """A queue is full."""

    code = "overloaded"


class Unavailable(GoverseError):
    """The service cannot process the request now."""

    code = "unavailable"


class MethodFailed(GoverseError):
    """The method raised an exception. The object is unchanged."""

    code = "method_failed"


class BusinessError(GoverseError):
    """An error that the application defines; ``code`` identifies it."""

    code = "business_error"


class UnexpectedAnswer(GoverseError):
    """A response that is not from a gate (a redirect, a web page), or that this client does not understand."""

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
_RETRYABLE: Final = frozenset({429, 502, 503, 504})  # for responses of a proxy, which have no problem document


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> GoverseError:
    """Return the error for a response. ``headers`` has lower-case names."""
    retry_after_s = _seconds(headers.get("retry-after"))
    request_id = headers.get("goverse-request-id", "")
    problem = _problem(headers, content)
    if problem is None:
        kind: type[GoverseError] = Unavailable if status in _RETRYABLE else UnexpectedAnswer
        return kind(
            f"the response (status {status}) is not from a GoVerse gate: {_seen(headers, content)}",
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
    """Return ``text`` with all characters that are not printable, including line feeds, as escapes such as ``\\x1b``.

    Without this, a text from a server could control a terminal or forge log lines.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def media_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a response, without parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _seen(headers: Mapping[str, str], content: bytes) -> str:
    body = repr(content[:200].decode(errors="replace"))
    location = headers.get("location")
    return body if location is None else f"{body}; it redirects to {location!r}; use the URL of the gate itself"


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
    except ValueError:  # a date; gates send seconds
        return None
    return seconds if 0 <= seconds < float("inf") else None
