"""Conversion between problems and protobuf messages.

Problem texts come from applications, so encoding never fails and always enforces the bounds of
``goverse.model.problem_bounds``, regardless of where a problem was created.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import orjson

from goverse.errors import Executed, GoverseError, PeerError
from goverse.limits import (
    NAME_BYTES_MAX,
    PROBLEM_DETAIL_BYTES_MAX,
    PROBLEM_MEMBERS_BYTES_MAX,
    REQUEST_ID_BYTES_MAX,
)
from goverse.model.frames import Problem
from goverse.model.problem_bounds import bounded_members, bounded_text, json_bytes
from goverse.wire.v1 import wire_pb2 as messages

_NUMBERS: Final[Mapping[Executed, messages.Executed.ValueType]] = {
    Executed.NO: messages.EXECUTED_NO,
    Executed.UNKNOWN: messages.EXECUTED_UNKNOWN,
}
_VERDICTS: Final = {int(number): executed for executed, number in _NUMBERS.items()}


def problem_bytes(problem: Problem) -> int:
    """Return the approximate size of a problem in a message."""
    detail = min(len(problem.detail), PROBLEM_DETAIL_BYTES_MAX)
    return detail + (min(json_bytes(problem.extra), PROBLEM_MEMBERS_BYTES_MAX) if problem.extra else 0)


def write_problem(problem: Problem, message: messages.Problem) -> None:
    """Encode a problem within its bounds; a character that UTF-8 cannot express becomes a question mark."""
    message.code = _text(bounded_text(problem.code, NAME_BYTES_MAX)) or GoverseError.code
    message.detail = _text(bounded_text(problem.detail, PROBLEM_DETAIL_BYTES_MAX))
    message.retryable = problem.retryable
    message.request_id = _text(bounded_text(problem.request_id, REQUEST_ID_BYTES_MAX))
    if problem.extra:
        message.extra = _json(problem.extra)
    if problem.status is not None:
        message.status = problem.status
    if problem.executed is not None:
        message.executed = _NUMBERS[problem.executed]


def read_problem(message: messages.Problem) -> Problem:
    """Decode a problem.

    Raises:
        PeerError: it has no code, or its extra members are not a JSON object.
    """
    if not message.code:
        raise PeerError("the peer sent a problem without a code")
    return Problem(
        message.code,
        message.detail,
        message.retryable,
        _members(message.extra) if message.extra else {},
        message.status if message.HasField("status") else None,
        message.request_id,
        _VERDICTS.get(message.executed),
    )


def _text(value: str) -> str:
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _json(extra: Mapping[str, Any]) -> bytes:
    """Encode extra members as the gate does, within their bounds; members without a JSON form are dropped."""
    encoded = _encoded(extra)
    if encoded is None or len(encoded) > PROBLEM_MEMBERS_BYTES_MAX:
        encoded = _encoded(bounded_members(extra))
    return encoded or b""


def _encoded(extra: Mapping[str, Any]) -> bytes | None:
    attempts: tuple[Callable[[], bytes], ...] = (
        lambda: orjson.dumps(dict(extra), default=str),
        lambda: json.dumps(extra, default=str, allow_nan=False).encode(),
    )
    for attempt in attempts:
        try:
            return attempt()
        except (TypeError, ValueError, RecursionError):
            continue
    return None


def _members(data: bytes) -> dict[str, Any]:
    try:
        members: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PeerError("the peer sent a problem with members that are not JSON") from error
    if not isinstance(members, dict):
        raise PeerError("the peer sent a problem with members that are not a JSON object")
    return cast("dict[str, Any]", members)
