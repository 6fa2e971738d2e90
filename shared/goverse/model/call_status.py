"""The status of a reliable call, and its JSON form in the answers of ``goverse.model.call_verbs``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from goverse.model import json_values
from goverse.model.effects import SentCall
from goverse.model.frames import Problem
from goverse.model.keys import ObjectKey


class CallStatus(NamedTuple):
    """The status of a call.

    Attributes:
        call: the call, as its sender committed it.
        sender: the object that sent it.
        state: ``pending``, ``running`` while a delivery is on its way, or how it ended.
        attempts: the attempts that failed.
        next_attempt_ms: the time of its next delivery, in milliseconds since the epoch; None if that depends on others.
        waits_for: a sentence that says why it is not running, or empty.
        finished_ms: the time of its end, or None.
        problem: the error of its latest attempt or of its outcome, or None.
    """

    call: SentCall
    sender: ObjectKey
    state: str = "pending"
    attempts: int = 0
    next_attempt_ms: int | None = None
    waits_for: str = ""
    finished_ms: int | None = None
    problem: Problem | None = None

    def members(self) -> Mapping[str, Any]:
        """Return the members of the JSON object."""
        call, problem = self.call, self.problem
        return {
            "id": call.id,
            "sender": {"type": self.sender.type, "id": self.sender.id},
            "receiver": {"type": call.receiver.type, "id": call.receiver.id},
            "method": call.method,
            "state": self.state,
            "attempts": self.attempts,
            "sent_at": _time(call.sent_ms),
            "expires_at": _time(call.expires_ms or None),
            "next_attempt_at": _time(self.next_attempt_ms),
            "waits_for": self.waits_for or None,
            "finished_at": _time(self.finished_ms),
            "problem": None
            if problem is None
            else {"code": problem.code, "detail": problem.detail, "retryable": problem.retryable},
        }

    def encode(self) -> bytes:
        """Return the JSON object."""
        return json_values.encode(self.members())


def accepted(sender: ObjectKey, call: SentCall) -> CallStatus:
    """Return the status of a call that was sent just now."""
    return CallStatus(call, sender, next_attempt_ms=call.due_ms or call.sent_ms)


def _time(wall_ms: int | None) -> str | None:
    """Return a time as RFC 3339 in UTC."""
    if wall_ms is None:
        return None
    at = datetime.fromtimestamp(wall_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
