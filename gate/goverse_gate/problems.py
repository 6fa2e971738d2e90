"""Errors over HTTP: the table of statuses by error code, and problem documents (RFC 9457).

A problem document never contains a stack trace. Unexpected exceptions become ``internal_error``; the log has the cause
under the same request id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from goverse.model.frames import Problem

PROBLEM_TYPE_PREFIX: Final = "urn:goverse:problem:"
RETRY_AFTER_S: Final = 1

STATUS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "malformed_request": 400,
        "request_error": 400,
        "business_error": 400,
        "access_denied": 403,
        "unknown_path": 404,
        "unknown_type": 404,
        "unknown_method": 404,
        "object_not_found": 404,
        "call_not_found": 404,
        "method_not_allowed": 405,
        "conflict": 409,
        "idempotency_key_mismatch": 409,
        "idempotency_in_progress": 409,
        "object_exists": 409,
        "deadlock": 409,
        "reentrancy_conflict": 409,
        "call_id_mismatch": 409,
        "call_pending": 409,
        "call_redriven": 409,
        "call_void": 409,
        "restore_refused": 409,
        "cursor_expired": 410,
        "call_forgotten": 410,
        "version_mismatch": 412,
        "too_large": 413,
        "unsupported_media_type": 415,
        "invalid_arguments": 422,
        "overloaded": 429,
        "internal_error": 500,
        "method_failed": 500,
        "readonly_violation": 500,
        "suspected_crash": 500,
        "state_invalid": 500,
        "state_not_storable": 500,
        "kept_result_mismatch": 500,
        "config_error": 500,
        "definition_error": 500,
        "start_failed": 500,
        "unsupported_transfer_encoding": 501,
        "try_again": 503,
        "unavailable": 503,
        "moving": 503,
        "draining": 503,
        "out_of_order": 503,
        "peer_error": 503,
        "store_error": 503,
        "store_failed": 503,
        "store_locked": 503,
        "data_damaged": 503,
        "data_newer": 503,
        "coordinator_error": 503,
        "timeout": 504,
    }
)


def status_of(problem: Problem) -> int:
    """Return the HTTP status: from the table, or the one that a business error declares."""
    status = STATUS.get(problem.code)
    if status is not None and problem.code != "business_error":
        return status
    if problem.status is not None and 400 <= problem.status <= 499:
        return problem.status
    return status or 500


# Errors that correct clients get in normal operation: polling for an object, racing for a version or an id.
_EXPECTED: Final = frozenset(
    {
        "business_error",
        "call_not_found",
        "call_pending",
        "conflict",
        "cursor_expired",
        "idempotency_in_progress",
        "object_exists",
        "object_not_found",
        "version_mismatch",
    }
)


def is_expected(code: str) -> bool:
    """True if an error is part of normal operation and not worth a line in the log."""
    return code in _EXPECTED or (code not in STATUS and code not in ("client_gone", "problem"))


def title_of(code: str) -> str:
    """Return the title of an error: ``version_mismatch`` has "Version mismatch"."""
    return code.replace("_", " ").capitalize()


def retry_after_s(problem: Problem, status: int) -> int | None:
    """Return the value of Retry-After in seconds, or None if the response has no such header."""
    hint = problem.extra.get("retry_after_s")
    if not problem.retryable or (status not in (429, 503) and hint is None):
        return None
    return max(1, math.ceil(hint)) if isinstance(hint, int | float) else RETRY_AFTER_S


def document(problem: Problem, status: int, request_id: str) -> bytes:
    """Return the problem as JSON. A request id stored with a replayed reply takes precedence over ``request_id``."""
    members: dict[str, Any] = {
        "type": PROBLEM_TYPE_PREFIX + problem.code,
        "title": title_of(problem.code),
        "status": status,
        "detail": problem.detail,
        "code": problem.code,
        "retryable": problem.retryable,
        "request_id": problem.request_id or request_id,
    }
    if problem.executed is not None:
        members["executed"] = problem.executed.value
    whole = members | {name: value for name, value in problem.extra.items() if name not in members}
    try:
        return orjson.dumps(whole, default=str)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate, a key that is not a string
        return _encode_slowly(whole, members)


def _encode_slowly(whole: Mapping[str, Any], members: Mapping[str, Any]) -> bytes:
    """Encode values that orjson rejects. If JSON has no form for one, encode only the standard members."""
    try:
        return json.dumps(whole, default=str, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return json.dumps(members).encode()
