"""Errors on the wire: the one table from code to HTTP status, and problem documents (RFC 9457).

A problem never shows a stack trace. Whatever nobody foresaw is ``internal_error``; its cause is in the log
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
        "method_not_allowed": 405,
        "conflict": 409,
        "idempotency_key_mismatch": 409,
        "idempotency_in_progress": 409,
        "object_exists": 409,
        "deadlock": 409,
        "reentrancy_conflict": 409,
        "restore_refused": 409,
        "cursor_expired": 410,
        "version_mismatch": 412,
        "too_large": 413,
        "invalid_arguments": 422,
        "overloaded": 429,
        "internal_error": 500,
        "method_failed": 500,
        "readonly_violation": 500,
        "state_invalid": 500,
        "state_not_storable": 500,
        "config_error": 500,
        "definition_error": 500,
        "try_again": 503,
        "unavailable": 503,
        "moving": 503,
        "draining": 503,
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
    """Return the HTTP status: the table's, or what a business error declares."""
    status = STATUS.get(problem.code)
    if status is not None and problem.code != "business_error":
        return status
    if problem.status is not None and 400 <= problem.status <= 499:
        return problem.status
    return status or 500


def title_of(code: str) -> str:
    """Return the short name of an error for people."""
    return code.replace("_", " ").capitalize()


def retry_after_s(problem: Problem, status: int) -> int | None:
    """Return when to try again in seconds, where that is worth telling."""
    hint = problem.extra.get("retry_after_s")
    if not problem.retryable or (status not in (429, 503) and hint is None):
        return None
    return max(1, math.ceil(hint)) if isinstance(hint, int | float) else RETRY_AFTER_S


def document(problem: Problem, status: int, request_id: str) -> bytes:
    """Return the problem as JSON; its own request id, kept with a stored reply, wins over this request's."""
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
    except TypeError:  # an integer beyond 64 bits, half a character, a key that is no string
        return _encode_patiently(whole, members)


def _encode_patiently(whole: Mapping[str, Any], members: Mapping[str, Any]) -> bytes:
    """Encode what the fast encoder does not know; where there is no JSON for it, only the members of the contract."""
    try:
        return json.dumps(whole, default=str, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        return json.dumps(members).encode()
