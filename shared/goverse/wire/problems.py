"""Problems as messages. Their text comes from anybody's code, so encoding one never fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import orjson

from goverse.errors import PeerError
from goverse.model.frames import Problem
from goverse.ports.link import EXECUTED
from goverse.wire.v1 import wire_pb2 as messages


def write_problem(problem: Problem, message: messages.Problem) -> None:
    """Fill in a problem. Its text may hold what an object's own code put there: what is no text is made some."""
    message.code = _text(problem.code)
    message.detail = _text(problem.detail)
    message.retryable = problem.retryable
    message.request_id = _text(problem.request_id)
    if problem.extra:
        message.extra = _json(problem.extra)
    if problem.status is not None:
        message.status = problem.status


def read_problem(message: messages.Problem) -> Problem:
    """Return the problem.

    Raises:
        PeerError: it has no code, or its further members are no JSON object.
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
    )


def _text(value: str) -> str:
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _json(extra: Mapping[str, Any]) -> bytes:
    """Encode members as the gate would; where there is no JSON for them, only what a router has to know."""
    attempts: tuple[Callable[[], bytes], ...] = (
        lambda: orjson.dumps(dict(extra), default=str),
        lambda: json.dumps(extra, default=str, allow_nan=False).encode(),
    )
    for attempt in attempts:
        try:
            return attempt()
        except (TypeError, ValueError, RecursionError):
            continue
    return orjson.dumps({EXECUTED: extra[EXECUTED]}) if isinstance(extra.get(EXECUTED), str) else b""


def _members(data: bytes) -> dict[str, Any]:
    try:
        members: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PeerError("the peer sent a problem whose members are no JSON") from error
    if not isinstance(members, dict):
        raise PeerError("the peer sent a problem whose members are no JSON object")
    return cast("dict[str, Any]", members)
