"""Epoch check for replies without a commit, used after the node's lease has expired.

A node without a live lease cannot know whether another node has claimed the shard, so a state that it read may be old.
A database server that was cut off from its standbys may answer reads with old data, too, but cannot commit. So the node
commits an empty record before it replies: the store refuses the record if this node's epoch is not the newest. The
record is queued after the state was read, so a successful check proves that the state was current.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from goverse.errors import GoverseError
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse.ports.clock import Clock
from goverse_node.runtime.group_commit import CommitPipeline, Owner, PendingCommit
from goverse_node.shard_access import ShardAccess


class CommitHost(Protocol):
    """The part of a host that commits records."""

    clock: Clock
    pipeline: CommitPipeline
    shard_access: ShardAccess


class EpochCheck:
    """Owner of the record of one check; see ``goverse_node.runtime.group_commit.Owner``."""

    def __init__(
        self, host: CommitHost, key: ObjectKey, *, shard: int, epoch: int, activation: Owner | None = None
    ) -> None:
        """Check that ``epoch`` is the newest of ``shard``, the shard of the object ``key``.

        If the state was read from an activation, the check fails with it.
        """
        self._host = host
        self._key = key
        self._shard = shard
        self._epoch = epoch
        self._activation = activation

    @property
    def failure(self) -> GoverseError | None:
        return None if self._activation is None else self._activation.failure

    def start(self, checked: Callable[[GoverseError | None], None]) -> None:
        """Queue the record. ``checked`` receives None if the epoch is the newest, else the error for the caller."""
        self._checked = checked
        at_ms = self._host.clock.wall_ms()
        record = CommitRecord(self._key, 0, 0, None, 0, at_ms, shard=self._shard, epoch=self._epoch)
        self._host.pipeline.append(PendingCommit(record, self, None, Reply()))

    def fenced(self) -> None:
        self._host.shard_access.fenced(self._shard, self._epoch)

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        del pending, commit_seq  # the reply has the commit_seq of the state that was read
        self._checked(error)
