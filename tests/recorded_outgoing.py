"""An ``Outgoing`` without delivery: it lists the durable records, and keeps the outboxes that follow from them."""

from collections.abc import Sequence

from goverse.errors import Overloaded, Unavailable
from goverse.model.effects import PendingCall
from goverse.model.keys import ObjectKey
from goverse.model.receipts import SENDS_MAX, number_of
from goverse.model.records import CommitRecord
from goverse_node.runtime.group_commit import LateCommit, LateMark, PendingCommit


class RecordedOutgoing:
    """The outboxes of a node's objects.

    Attributes:
        unread: the outboxes have not been read, so they cannot be looked at.
    """

    def __init__(self, room: int = SENDS_MAX) -> None:
        self.room = room
        self.unread = False
        self.records: list[CommitRecord] = []
        self._pending: dict[tuple[ObjectKey, int], PendingCall] = {}

    def committed(self, record: CommitRecord, commit_seq: int) -> None:
        effects = record.effects
        assert effects is not None
        self.records.append(record)
        for part, call in enumerate(effects.sends):
            number = number_of(commit_seq, part)
            self._pending[record.key, number] = PendingCall(number, record.key, record.shard, call)
        for mark in effects.marks:
            place = record.key, mark.number
            if place in self._pending:
                self._pending[place] = self._pending[place]._replace(attempts=mark.attempts, void=mark.void)
        for number in effects.removes:
            self._pending.pop((record.key, number), None)

    def addressed(self, pending: PendingCommit, late_marks: Sequence[LateMark]) -> PendingCommit:
        if not late_marks:
            return pending
        return LateCommit(pending.record, pending.owner, pending.call, pending.reply, late_marks)

    def check_room(self, sender: ObjectKey, count: int) -> None:
        if len(self._pending_of(sender)) + count > self.room:
            raise Overloaded(f"{sender} has too many calls pending")

    def pending_of(self, sender: ObjectKey) -> Sequence[PendingCall]:
        if self.unread:
            raise Unavailable(f"the pending calls of {sender} are not known yet")
        return self._pending_of(sender)

    def _pending_of(self, sender: ObjectKey) -> Sequence[PendingCall]:
        return [call for (key, _), call in self._pending.items() if key == sender]

    def find(self, sender: ObjectKey, call_id: str) -> PendingCall | None:
        return next((each for each in self.pending_of(sender) if each.call.id == call_id), None)
