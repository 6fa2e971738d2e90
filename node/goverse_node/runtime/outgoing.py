"""The service that delivers the reliable calls of objects, as the runtime sees it.

``goverse_node.messages.dispatcher`` implements it. The runtime tells it which calls became durable; it never reads a
turn's calls before that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from goverse.model.effects import PendingCall
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse_node.runtime.group_commit import LateMark, PendingCommit


class Outgoing(Protocol):
    """Delivers reliable calls whose senders are in the shards of this node."""

    def committed(self, record: CommitRecord, commit_seq: int) -> None:
        """Take note of a durable record with effects: deliver what it sends, obey its marks, forget what it removes."""
        ...

    def addressed(self, pending: PendingCommit, late_marks: Sequence[LateMark]) -> PendingCommit:
        """Return the record to queue instead of ``pending``, a ``LateCommit`` if a mark's number is not known yet.

        A call that is sent again has another number afterwards, so marks find their calls when they are queued.
        """
        ...

    def check_room(self, sender: ObjectKey, count: int) -> None:
        """Check that ``sender`` may have ``count`` further calls pending.

        Raises:
            Overloaded: it would have more than ``SENDS_MAX``.
        """
        ...

    def pending_of(self, sender: ObjectKey) -> Sequence[PendingCall]:
        """Return the calls of ``sender`` that are pending, in order, without those whose outcome is known."""
        ...

    def find(self, sender: ObjectKey, call_id: str) -> PendingCall | None:
        """Return the call with this id among those that ``pending_of`` returns, or None."""
        ...
