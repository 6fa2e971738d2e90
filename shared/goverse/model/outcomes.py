"""Outcomes of reliable calls as JSON: the argument of the method that receives one."""

from __future__ import annotations

from goverse.model import json_values
from goverse.model.effects import CallState
from goverse.model.frames import Reply


def outcome_body(call_id: str, state: CallState, reply: Reply | None) -> bytes:
    """Return the arguments of a ``then`` call: ``{"outcome": {"id", "state", "ok", "value" or "problem"}}``.

    The result is copied as it is, so numbers keep all their digits.
    """
    head = json_values.encode({"id": call_id, "state": state, "ok": state == "success"})
    problem = None if reply is None else reply.problem
    if problem is None:
        value = b"null" if reply is None else reply.body or b"null"
        return b'{"outcome":' + head[:-1] + b',"value":' + value + b"}}"
    members = {
        "code": problem.code,
        "detail": problem.detail,
        "retryable": problem.retryable,
        "extra": dict(problem.extra),
        "status": problem.status,
    }
    return b'{"outcome":' + head[:-1] + b',"problem":' + json_values.encode(members) + b"}}"
