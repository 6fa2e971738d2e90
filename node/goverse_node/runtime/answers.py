"""Replies of turns, and the commit records they wait for.

A reply is sent after the commit of its turn. A turn without a commit waits for the newest commit that the object had
made by then. If all commits are durable already, the reply is sent immediately, or after a check that this node still
owns the shard (``goverse_node.runtime.lease_check``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.errors import GoverseError
from goverse.limits import ROUTER_KEY_RETENTION_S
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ROUTER_KEY_PREFIX
from goverse.model.records import CommitRecord, StoredReply
from goverse.model.replies import encode_reply
from goverse_node.runtime.call import Call
from goverse_node.runtime.group_commit import PendingCommit
from goverse_node.runtime.lease_check import answer_after_check

if TYPE_CHECKING:
    from goverse_node.runtime.activation import Activation


def answer(activation: Activation, call: Call, reply: Reply, *, expected: int | None = None, keep: bool = True) -> None:
    """Answer after a commit: a new one if the turn changed the object or its reply is kept, else the object's last.

    The reply of a readonly call is not kept. Its turn has no effect, so it can run again.
    """
    version = activation.instance.version
    changed = expected is not None and expected != version
    if changed or (keep and call.request.idempotency_key is not None and not call.readonly):
        commit(activation, call, reply, expected=version if expected is None else expected)
    else:
        answer_when_durable(activation, call, reply)


def answer_when_durable(activation: Activation, call: Call, reply: Reply) -> None:
    """Answer a call without a commit of its own, once the state that it read is durable and known to be current."""
    if activation.tail is None:
        reply.commit_seq = activation.instance.commit_seq
        if activation.node.shard_access.may_answer(activation.shard, activation.epoch):
            call.answer(reply)
        else:
            answer_after_check(activation, call, reply)
        return

    def settled(commit_seq: int, error: GoverseError | None) -> None:
        if error is not None:
            call.refuse(error)
        else:
            reply.commit_seq = commit_seq
            call.answer(reply)

    activation.tail.wait(settled)


def refuse_when_durable(activation: Activation, call: Call, error: GoverseError) -> None:
    """Refuse a call because of the object's state, as soon as that state is durable."""
    problem = Problem.of(error, call.request.request_id)
    answer_when_durable(activation, call, Reply(version=activation.instance.version, problem=problem))


def commit(activation: Activation, call: Call | None, reply: Reply, *, expected: int) -> None:
    node, instance = activation.node, activation.instance
    at_ms = node.clock.wall_ms()
    idempotency_key = None if call is None else call.request.idempotency_key
    kept: StoredReply | None = None
    if idempotency_key is not None and call is not None:
        by_router = idempotency_key.startswith(ROUTER_KEY_PREFIX)
        retention_s = ROUTER_KEY_RETENTION_S if by_router else node.options.idempotency_retention_s
        expires_ms = at_ms + round(retention_s * 1000)
        kept = StoredReply(call.fingerprint, encode_reply(reply), expires_ms)
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
