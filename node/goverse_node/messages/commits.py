"""Commit records that the dispatcher makes itself: removals, marks, and delayed calls that have become due.

Such a record changes no object and depends on no state, so it expects ``ANY_VERSION``.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from typing import Protocol

from goverse.errors import GoverseError, Moving
from goverse.model.effects import ANY_VERSION, Effects
from goverse.model.frames import Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse.ports.entropy import Entropy
from goverse.ports.link import Link
from goverse_node.messages.marking import Marking
from goverse_node.options import NodeOptions
from goverse_node.runtime.alone import Alone
from goverse_node.runtime.group_commit import PendingCommit
from goverse_node.runtime.lease_check import CommitHost

Done = Callable[[GoverseError | None], None]


class MessagesHost(CommitHost, Protocol):
    """The node, as the dispatcher sees it.

    Attributes:
        calls: the link to other objects; in a cluster the router.
        entropy: the source of the waits between attempts.
        options: the options of the node.
        alone: the place for the one suspect that may run.
    """

    alone: Alone
    calls: Link
    entropy: Entropy
    options: NodeOptions

    def now(self) -> float:
        """Return the time of the loop's clock."""
        ...

    def conclude(self, request: Request, effects: Effects) -> Future[Reply]:
        """Run the ``then`` of a call as a turn of its sender, whose record also has ``effects``.

        The reply has no problem if and only if the turn and the effects are durable.
        """
        ...


class Commits:
    """Makes the dispatcher's own records."""

    def __init__(self, host: MessagesHost, committed: Callable[[CommitRecord, int], None], marking: Marking) -> None:
        """``committed`` receives each record when it is durable, with its position."""
        self._host = host
        self._committed = committed
        self._marking = marking

    def epoch(self, shard: int) -> int:
        """Return the epoch under which this node serves a shard.

        Raises:
            Moving: it does not serve the shard.
        """
        epoch = self._host.shard_access.epoch(shard)
        if epoch is None:
            raise Moving
        return epoch

    def commit(
        self, sender: ObjectKey, shard: int, effects: Effects, done: Done, *, epoch: int | None = None
    ) -> PendingCommit | None:
        """Commit effects of the object ``sender``. ``done`` receives None when they are durable, else the error.

        ``epoch`` is the epoch under which the node has to serve the shard still, if the effects follow from a read.

        Returns:
            The queued record, or None if the node does not serve the shard any more.
        """
        host = self._host
        present = host.shard_access.epoch(shard)
        if present is None or epoch not in (None, present):
            done(Moving())
            return None
        at_ms = host.clock.wall_ms()
        record = CommitRecord(
            sender, ANY_VERSION, ANY_VERSION, None, 0, at_ms, shard=shard, epoch=present, effects=effects
        )
        pending = PendingCommit(record, _Owner(host, self._committed, done), None, Reply())
        if effects.marks:
            pending = self._marking.addressed(pending, ())
        host.pipeline.append(pending)
        return pending


class _Owner:
    """The owner of one record; see ``goverse_node.runtime.group_commit.Owner``."""

    __slots__ = ("_committed", "_done", "_fenced", "_host", "failure")

    def __init__(self, host: MessagesHost, committed: Callable[[CommitRecord, int], None], done: Done) -> None:
        self._host = host
        self._committed = committed
        self._done = done
        self._fenced = False
        self.failure: GoverseError | None = None

    def fenced(self) -> None:
        self._fenced = True

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        if error is None:
            self._committed(pending.record, commit_seq)
        elif self._fenced:
            self._host.shard_access.fenced(pending.record.shard, pending.record.epoch)
        self._done(error)
