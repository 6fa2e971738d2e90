"""Answering: the commit record of a turn, and the reply that waits for it.

A reply without a commit of its own waits for the newest one that the object had made by then. Where there is none that
is not durable, it leaves at once, or after a check that the shard is still ours (``goverse_node.lease_check``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.errors import GoverseError
from goverse.limits import ROUTER_KEY_RETENTION_S
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ROUTER_KEY_PREFIX
from goverse.model.records import CommitRecord, StoredReply
from goverse.model.replies import encode_reply
from goverse_node.call import Call
from goverse_node.lease_check import answer_after_check
from goverse_node.pipeline import PendingCommit

if TYPE_CHECKING:
    from goverse_node.activation import Activation


def answer(activation: Activation, call: Call, reply: Reply, *, expected: int | None = None, keep: bool = True) -> None:
    """Answer after the commit: the turn's own if it changed the object or keeps its reply, else the object's last.

    The reply of a readonly call is not kept: its turn has no effect that a repetition could double.
    """
    version = activation.instance.version
    changed = expected is not None and expected != version
    if changed or (keep and call.request.idempotency_key is not None and not call.readonly):
        commit(activation, call, reply, expected=version if expected is None else expected)
    else:
        answer_when_durable(activation, call, reply)


def answer_when_durable(activation: Activation, call: Call, reply: Reply) -> None:
    """Answer a call that committed nothing itself, once all that it may have seen is durable and surely ours."""
    if activation.tail is None:
        reply.commit_seq = activation.instance.commit_seq
        if activation.node.shard_access.may_answer(activation.shard, activation.epoch):
            call.answer(reply)
        else:
            answer_after_check(activation, call, reply)
        return

    def answer(commit_seq: int, error: GoverseError | None) -> None:
        if error is not None:
            call.refuse(error)
        else:
            reply.commit_seq = commit_seq
            call.answer(reply)

    activation.tail.wait(answer)


def refuse_when_durable(activation: Activation, call: Call, error: GoverseError) -> None:
    """Refuse a call because of the object's state, once that state is durable."""
    problem = Problem.of(error, call.request.request_id)
    answer_when_durable(activation, call, Reply(version=activation.instance.version, problem=problem))


def commit(activation: Activation, call: Call | None, reply: Reply, *, expected: int) -> None:
    node, instance = activation.node, activation.instance
    at_ms = node.clock.wall_ms()
    idempotency_key = None if call is None else call.request.idempotency_key
    kept: StoredReply | None = None
    if idempotency_key is not None and call is not None:
        made_here = idempotency_key.startswith(ROUTER_KEY_PREFIX)
        retention_s = ROUTER_KEY_RETENTION_S if made_here else node.options.idempotency_retention_s
        expires_ms = at_ms + round(retention_s * 1000)
        kept = StoredReply(call.print, encode_reply(reply), expires_ms)
    record = CommitRecord(
        activation.key,
        expected,
        instance.version,
        instance.base if instance.exists else None,
        activation.spec.policy.state_version,
        at_ms,
        idempotency_key,
        kept,
        activation.shard,
        activation.epoch,
        call is not None and call.request.fresh_key,
        instance.creation if instance.exists else None,
    )
    activation.commit(PendingCommit(record, activation, call, reply))
    node.resized(activation)
