"""The rules of a saga: what follows from the end of its running call. No IO, no clock.

    forward ──▶ success      the last step succeeded
       │
       └──▶ back ──▶ failed  every undo took effect
              └────▶ dead    an undo did not take effect: it was skipped, or raised a business error

Steps run one after the other. A step that did not succeed has not taken effect, so the undos of the steps before it are
sent, in reverse order. An undo that did not take effect does not stop the ones before it.

A saga is stored as the JSON body of a note (``goverse.model.notes``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import orjson

from goverse.limits import SAGA_RESULT_BYTES_MAX
from goverse.model.effects import CallState
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ObjectKey

_TOO_LARGE: Final = "the result of the step is larger than a saga keeps, so the step was undone"


class SagaCall(NamedTuple):
    """A step or an undo.

    Attributes:
        receiver, method, body: the call; ``body`` holds its arguments as JSON.
        expires_ms: the time for which it may wait, in milliseconds; 0 for no limit.
        attempts_max: failed attempts after which it is given up.
    """

    receiver: ObjectKey
    method: str
    body: bytes
    expires_ms: int
    attempts_max: int

    @property
    def name(self) -> str:
        """The type and the method, for messages."""
        return f"{self.receiver.type}.{self.method}"


@dataclass(frozen=True, slots=True)
class Saga:
    """A saga and its progress.

    Attributes:
        then: the method that receives the outcome, or empty.
        steps: the calls, in order.
        undos: for each step the call that undoes it, or None.
        position: the step whose call is running, or whose undo is.
        back: True once undos are being sent.
        results: the results of the steps that have taken effect, as JSON.
        problem: why the saga goes back, as members of a problem; empty until then.
        failed_undos: names of the undos that did not take effect.
        ended: how the saga ended, or None.
    """

    then: str
    steps: tuple[SagaCall, ...]
    undos: tuple[SagaCall | None, ...]
    position: int = 0
    back: bool = False
    results: tuple[bytes, ...] = ()
    problem: Mapping[str, Any] = field(default_factory=dict[str, Any])
    failed_undos: tuple[str, ...] = ()
    ended: CallState | None = None

    @property
    def running(self) -> SagaCall:
        """The call that is to run now."""
        assert self.ended is None, "an ended saga has no running call"
        undo = self.undos[self.position]
        if not self.back:
            return self.steps[self.position]
        assert undo is not None, "only a step with an undo is undone"
        return undo

    def after(self, state: CallState, reply: Reply) -> Saga:
        """Return the progress after the running call has ended with ``state`` and ``reply``."""
        running = self.running
        if self.back:
            failed = self.failed_undos if state == "success" else (*self.failed_undos, running.name)
            return replace(self, failed_undos=failed)._back(self.position)
        if state != "success":
            return replace(self, problem=_members(reply.problem, running, state))._back(self.position)
        done = self.position + 1
        if len(reply.body) > SAGA_RESULT_BYTES_MAX:
            problem = _members(Problem("too_large", _TOO_LARGE), running, "failed")
            return replace(self, problem=problem)._back(done)
        forward = replace(self, results=(*self.results, reply.body or b"null"))
        return replace(forward, ended="success") if done == len(self.steps) else replace(forward, position=done)

    def _back(self, before: int) -> Saga:
        """Return the progress with the undo of the last step below ``before`` that has one."""
        for position in reversed(range(before)):
            if self.undos[position] is not None:
                return replace(self, position=position, back=True)
        return replace(self, position=0, back=True, ended="dead" if self.failed_undos else "failed")

    @property
    def outcome(self) -> Reply:
        """The outcome of an ended saga: the results as a JSON array, or the problem of the step that failed."""
        if self.ended == "success":
            return Reply(b"[" + b",".join(self.results) + b"]")
        members = dict(self.problem)
        if self.failed_undos:
            members["extra"] = {**members["extra"], "not_undone": list(self.failed_undos)}
        return Reply(problem=Problem(**members))

    def encode(self) -> bytes:
        """Return the stored form."""
        return orjson.dumps(
            {
                "then": self.then,
                "steps": list(map(_encoded, self.steps)),
                "undos": [None if undo is None else _encoded(undo) for undo in self.undos],
                "position": self.position,
                "back": self.back,
                "results": [result.decode() for result in self.results],
                "problem": dict(self.problem),
                "failed_undos": list(self.failed_undos),
            }
        )


def decode_saga(body: bytes) -> Saga:
    """Return the saga from its stored form. Members that a later release added are ignored."""
    found = orjson.loads(body)
    return Saga(
        found["then"],
        tuple(map(_decoded, found["steps"])),
        tuple(None if undo is None else _decoded(undo) for undo in found["undos"]),
        found["position"],
        found["back"],
        tuple(result.encode() for result in found["results"]),
        found["problem"],
        tuple(found["failed_undos"]),
    )


def _members(problem: Problem | None, step: SagaCall, state: CallState) -> dict[str, Any]:
    """Return the members of the problem of a saga that goes back; ``extra`` names the step and its state."""
    found = problem or Problem("call_void", f"{step.name} did not take effect: it is {state}")
    extra = {**found.extra, "step": step.name, "state": state}
    return {
        "code": found.code,
        "detail": found.detail,
        "retryable": found.retryable,
        "extra": extra,
        "status": found.status,
    }


def _encoded(call: SagaCall) -> list[Any]:
    return [list(call.receiver), call.method, call.body.decode(), call.expires_ms, call.attempts_max]


def _decoded(members: list[Any]) -> SagaCall:
    receiver, method, body, expires_ms, attempts_max = members[:5]
    return SagaCall(ObjectKey(*receiver), method, body.encode(), expires_ms, attempts_max)
