"""The meaning of an answer to a delivery, and the outcome that it brings.

An error that may go away by itself, or that is no fault of the call, is no attempt. One that the call's content causes
cannot go away. Every other error is an attempt that failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from goverse.errors import Executed
from goverse.model.effects import CallState
from goverse.model.frames import Problem, Reply
from goverse_node.messages.channel import Void


class Answer(Enum):
    """The meaning of an answer."""

    SETTLED = "settled"  # the receiver has a receipt, so this is the outcome
    REFUSED = "refused"  # the receiver did not take it; repeat it, without counting an attempt
    REJECTED = "rejected"  # it can never succeed
    FAILED = "failed"  # an attempt failed
    LOST = "lost"  # the connection to the receiver's node ended during the delivery
    ENDED = "ended"  # the process that an earlier delivery was lost with has ended; this one was not made


CALL_VOID: Final = "call_void"
"""The code of the outcome of a call that was settled without running it."""

CALL_FORGOTTEN: Final = "call_forgotten"
"""The code of the answer to a repeated delivery whose outcome the sender has committed."""

ANSWERS: Final[Mapping[str, Answer]] = {
    "call_void": Answer.FAILED,  # an outcome; without a receipt it means nothing
    "call_forgotten": Answer.REFUSED,  # see ``meaning_of``
    "out_of_order": Answer.REFUSED,
    "try_again": Answer.REFUSED,
    "overloaded": Answer.REFUSED,
    "unavailable": Answer.REFUSED,
    "moving": Answer.REFUSED,
    "draining": Answer.REFUSED,
    "unknown_type": Answer.REFUSED,  # an older release serves the receiver during a rolling upgrade
    "idempotency_in_progress": Answer.REFUSED,
    "request_error": Answer.REJECTED,
    "malformed_request": Answer.REJECTED,
    "invalid_arguments": Answer.REJECTED,
    "too_large": Answer.REJECTED,
    "access_denied": Answer.REJECTED,
    "unsupported_media_type": Answer.REJECTED,
    "unsupported_transfer_encoding": Answer.REJECTED,
    "method_not_allowed": Answer.REJECTED,
    "unknown_path": Answer.REJECTED,
    "unknown_method": Answer.REJECTED,
    "object_not_found": Answer.REJECTED,
    "cursor_expired": Answer.REJECTED,
    "conflict": Answer.REJECTED,
    "call_id_mismatch": Answer.REJECTED,
    "call_not_found": Answer.REJECTED,
    "call_pending": Answer.REJECTED,
    "call_redriven": Answer.REJECTED,
    "idempotency_key_mismatch": Answer.REJECTED,
    "object_exists": Answer.REJECTED,
    "version_mismatch": Answer.REJECTED,
    "timeout": Answer.FAILED,
    "deadlock": Answer.FAILED,
    "reentrancy_conflict": Answer.FAILED,
    "internal_error": Answer.FAILED,
    "method_failed": Answer.FAILED,
    "suspected_crash": Answer.REJECTED,  # of a call that the method made; see ``meaning_of``
    "readonly_violation": Answer.FAILED,
    "state_invalid": Answer.FAILED,
    "state_not_storable": Answer.FAILED,
    "kept_result_mismatch": Answer.FAILED,
    "business_error": Answer.FAILED,  # one that is an outcome is settled
    "store_error": Answer.FAILED,
    "data_damaged": Answer.FAILED,
    "data_newer": Answer.FAILED,
    "store_locked": Answer.FAILED,
    "store_failed": Answer.FAILED,
    "restore_refused": Answer.FAILED,
    "peer_error": Answer.FAILED,
    "coordinator_error": Answer.FAILED,
    "config_error": Answer.FAILED,
    "start_failed": Answer.FAILED,
    "definition_error": Answer.FAILED,
}
"""The meaning of every error code of GoVerse in a reply that is not settled. Other codes are failed attempts."""

_STATES: Final[Mapping[Void, CallState]] = {
    Void.EXPIRED: "expired",
    Void.CANCELLED: "cancelled",
    Void.SKIPPED: "dead",
    Void.DEAD: "dead",
    Void.CRASHED: "dead",
}


def meaning_of(reply: Reply) -> Answer:
    """Return what the answer to a delivery means.

    ``call_forgotten`` is no outcome. The receiver drops one only after the sender has committed it, so the sender's
    shard has another owner, and this node will close it.
    """
    problem = reply.problem
    if reply.settled:
        forgotten = problem is not None and problem.code == CALL_FORGOTTEN and problem.status is None
        return Answer.REFUSED if forgotten else Answer.SETTLED
    if problem is None or problem.status is not None:
        return Answer.FAILED  # a node of an earlier release ran it as a plain call; it has no receipt
    if problem.code == "unavailable" and problem.executed is Executed.UNKNOWN:
        return Answer.LOST
    if problem.code == "suspected_crash" and problem.executed is Executed.NO:
        return Answer.ENDED
    return ANSWERS.get(problem.code, Answer.FAILED)


def state_of(reply: Reply, void: Void | None, *, expired: bool) -> CallState:
    """Return the state of a call whose outcome is ``reply``.

    ``void`` is the reason that the sender knows. After a restart it may know none, although an earlier process made the
    call void; ``expired`` then tells the two possible reasons apart.
    """
    problem = reply.problem
    if problem is None:
        return "success"
    if problem.code != CALL_VOID or problem.status is not None:
        return "failed"
    if void is None:
        return "expired" if expired else "dead"
    return _STATES[void]


def void_outcome(state: CallState, problem: Problem | None) -> Reply:
    """Return the outcome of a call that ended without running: the error of its last attempt if it is dead."""
    if state == "dead" and problem is not None:
        return Reply(problem=problem)
    texts = {
        "expired": "the call expired before it took effect, and never will take effect",
        "cancelled": "the call was cancelled before it took effect, and never will take effect",
    }
    text = texts.get(state, "the call was given up before it took effect, and never will take effect")
    return Reply(problem=Problem(CALL_VOID, text))
