"""Epoch check for replies without a commit, used after the node's lease has expired.

A node without a live lease cannot know whether another node has claimed the shard, so a state that it read may be old.
It commits an empty record before it replies: the store refuses the record if this node's epoch is not the newest. The
record is queued after the state was read, so a successful check proves that the state was current.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.errors import GoverseError
from goverse.model.frames import Reply
from goverse.model.records import CommitRecord
from goverse_node.runtime.call import Call
from goverse_node.runtime.group_commit import PendingCommit

if TYPE_CHECKING:
    from goverse_node.runtime.activation import Activation


def answer_after_check(activation: Activation, call: Call, reply: Reply) -> None:
    """Answer ``call`` as soon as the store has confirmed that the activation's epoch is the newest."""
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
    """Owner of the check's record. It does not affect the activation's own commits."""

    def __init__(self, activation: Activation) -> None:
        self._activation = activation

    @property
    def failure(self) -> GoverseError | None:
        return self._activation.failure

    def fenced(self) -> None:
        self._activation.fenced()

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        del commit_seq  # the reply has the commit_seq of the state that was read
        if pending.call is not None and error is None:
            pending.call.answer(pending.reply)
        elif pending.call is not None and error is not None:
            pending.call.refuse(error)
