"""Answering: the commit record of a turn, and the reply that waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.model.frames import Reply
from goverse.model.records import CommitRecord, StoredReply
from goverse.model.replies import encode_reply
from goverse_node.call import Call
from goverse_node.pipeline import PendingCommit

if TYPE_CHECKING:
    from goverse_node.activation import Activation


def answer(activation: Activation, call: Call, reply: Reply, *, expected: int | None = None, keep: bool = True) -> None:
    """Answer after the commit: the turn's own if it changed the object or has a key to keep, else the object's last."""
    version = activation.instance.version
    changed = expected is not None and expected != version
    if changed or (keep and call.request.idempotency_key is not None):
        commit(activation, call, reply, expected=version if expected is None else expected)
    else:
        activation.answer_when_durable(call, reply)


def commit(activation: Activation, call: Call | None, reply: Reply, *, expected: int) -> None:
    node, instance = activation.node, activation.instance
    at_ms = node.clock.wall_ms()
    key = None if call is None else call.request.idempotency_key
    kept: StoredReply | None = None
    if key is not None and call is not None:
        expires_ms = at_ms + round(node.options.idempotency_retention_s * 1000)
        kept = StoredReply(call.print, encode_reply(reply), expires_ms)
    record = CommitRecord(
        activation.key,
        expected,
        instance.version,
        instance.base if instance.exists else None,
        activation.spec.policy.state_version,
        at_ms,
        key,
        kept,
    )
    activation.commit(PendingCommit(record, activation, call, reply))
    node.resized(activation)
