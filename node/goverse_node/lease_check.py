"""Confirmation: a reply that no commit stands behind waits until the store says that the shard is still ours.

Needed only while the node's lease has run out: somebody else may have claimed the shard then, and what was read here
may be old. The check joins the next batch, after the state was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.errors import GoverseError
from goverse.model.frames import Reply
from goverse.model.records import CommitRecord
from goverse_node.call import Call
from goverse_node.pipeline import PendingCommit

if TYPE_CHECKING:
    from goverse_node.activation import Activation


def answer_after_check(activation: Activation, call: Call, reply: Reply) -> None:
    """Answer ``call`` once the store has said that the activation's epoch is the newest one."""
    node, version = activation.node, activation.instance.version
    record = CommitRecord(
        activation.key,
        version,
        version,
        None,
        activation.spec.policy.state_version,
        node.clock.wall_ms(),
        shard=activation.shard,
        epoch=activation.epoch,
    )
    node.pipeline.append(PendingCommit(record, _EpochCheck(activation), call, reply))


class _EpochCheck:
    """Waits for the check on behalf of an activation, whose own commits it leaves alone."""

    def __init__(self, activation: Activation) -> None:
        self._activation = activation

    @property
    def failure(self) -> GoverseError | None:
        return self._activation.failure

    def fenced(self) -> None:
        self._activation.fenced()

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        del commit_seq  # the reply names the commit of the state that was read
        if pending.call is not None and error is None:
            pending.call.answer(pending.reply)
        elif pending.call is not None and error is not None:
            pending.call.refuse(error)
