"""The effects of one turn on reliable calls, collected until its commit record is put together.

A turn sends calls, and cancels calls of its object. Nothing of that leaves the turn before its commit is durable: a
turn that fails takes its effects with it, as it takes its changes of the state.

The unsettled calls of an object are, in order: those that are durable, as the service that delivers them knows them;
those of earlier turns, whose records are queued; those of the turn itself. A queued call has no number yet, because
numbers follow from positions in the store. A turn can cancel it all the same. Its record then waits until the record
that sends the call is durable (``LateCommit``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from goverse.errors import TooLarge
from goverse.limits import SENDS_BYTES_MAX
from goverse.model.effects import Effects, FinishedCall, Mark, PendingCall, SentCall
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Settlement
from goverse.model.replies import encode_reply
from goverse_node.runtime.call import Call
from goverse_node.runtime.group_commit import LateCommit, LateMark, PendingCommit
from goverse_node.runtime.outgoing import Outgoing

_CALL_BYTES = 192  # of a call besides its arguments
_CANCELLED = "cancelled"


class TurnEffects:
    """The part of a turn's commit record besides the state and the kept reply.

    Attributes:
        sends: the calls that the turn sends, by id, in order.
        marks: its notes on calls of the object's outbox, by number.
        late_marks: its notes on calls whose records are queued.
        settles: the delivery that the record settles.
        removes: the calls whose outcomes the turn was given, and notes that it removes.
        finished: the ends that are kept of such calls.
    """

    __slots__ = ("_sent_bytes", "finished", "late_marks", "marks", "removes", "sends", "settles")

    def __init__(self) -> None:
        self.sends: dict[str, SentCall] = {}
        self.marks: dict[int, Mark] = {}
        self.late_marks: list[LateMark] = []
        self.settles: Settlement | None = None
        self.removes: tuple[int, ...] = ()
        self.finished: tuple[FinishedCall, ...] = ()
        self._sent_bytes = 0

    def __bool__(self) -> bool:
        """True if there is anything to commit."""
        return bool(self.sends or self.marks or self.late_marks or self.removes or self.finished or self.settles)

    def send(self, call: SentCall) -> None:
        """Add a call, whose id must be new.

        Raises:
            TooLarge: the calls of the turn together are too large for one commit record.
        """
        size = self._sent_bytes + len(call.body) + _CALL_BYTES
        if size > SENDS_BYTES_MAX:
            raise TooLarge(
                f"the calls that this turn sends take more than {SENDS_BYTES_MAX} bytes; send them in several turns"
            )
        self._sent_bytes = size
        self.sends[call.id] = call

    def take_back(self, call_id: str) -> bool:
        """Remove a call that the turn itself sent. Return False if it sent none with this id."""
        call = self.sends.pop(call_id, None)
        if call is None:
            return False
        self._sent_bytes -= len(call.body) + _CALL_BYTES
        return True

    def join(self, effects: Effects) -> None:
        """Add what was decided outside of the turn: the calls whose outcomes the turn was given."""
        self.removes, self.finished = (*self.removes, *effects.removes), effects.finished
        self.sends.update((call.id, call) for call in effects.sends)
        self.marks.update((mark.number, mark) for mark in effects.marks)

    def build(self) -> Effects:
        """Return the effects, without late marks."""
        sends, marks = tuple(self.sends.values()), tuple(self.marks.values())
        return Effects(sends, self.settles, self.removes, marks, self.finished)


def effects_of(call: Call, reply: Reply, effects: TurnEffects | None) -> TurnEffects:
    """Return the effects of a turn that runs a reliable call or concludes some, with its own ``effects``."""
    reliable, delivery = call.reliable, call.request.delivery
    effects = effects or TurnEffects()
    if isinstance(reliable, Effects):
        effects.join(reliable)
    elif reliable is not None and delivery is not None:
        effects.settles = reliable.settle(delivery, encode_reply(reply))
        reply.settled = True
    return effects


class Sender(Protocol):
    """The object that sends calls.

    Attributes:
        shard: its shard.
        queued: its commits with effects that are not durable yet, in order.
    """

    @property
    def key(self) -> ObjectKey: ...
    @property
    def shard(self) -> int: ...
    @property
    def queued(self) -> Sequence[PendingCommit]: ...


class Outbox:
    """The unsettled calls of an object, as a turn with the effects ``own`` leaves them."""

    def __init__(self, sender: Sender, outgoing: Outgoing, own: TurnEffects) -> None:
        self._sender = sender
        self._outgoing = outgoing
        self._own = own

    def check_room(self) -> None:
        """Check that the turn may send a further call.

        Raises:
            Overloaded: the object would have too many calls pending.
        """
        queued = sum(len(sent) for _, sent in self._queued())
        self._outgoing.check_room(self._sender.key, queued + len(self._own.sends) + 1)

    def find(self, call_id: str) -> SentCall | None:
        """Return the unsettled call with this id, or None."""
        durable = self._outgoing.find(self._sender.key, call_id)
        if durable is not None:
            return durable.call
        queued = self._find_queued(call_id)
        return self._own.sends.get(call_id) if queued is None else queued[0]

    def cancel(self, call_id: str) -> bool:
        """Add the cancellation of a call to the turn's effects. Return False if no such call can be cancelled.

        A call that the turn itself sent is taken back: it was never sent.
        """
        own = self._own
        if own.take_back(call_id):
            return True
        durable = self._outgoing.find(self._sender.key, call_id)
        if durable is not None:
            if self._noted(durable).void:
                return False
            own.marks[durable.number] = Mark(durable.number, durable.attempts, _CANCELLED)
            return True
        queued = self._find_queued(call_id)
        if queued is None or self._is_cancelled(*queued[1:]):
            return False
        own.late_marks.append(LateMark(*queued[1:], Mark(0, void=_CANCELLED)))
        return True

    def calls(self) -> list[PendingCall]:
        """Return the calls, in order. Those that are not durable have the number 0."""
        sender = self._sender
        found = [self._noted(each) for each in self._outgoing.pending_of(sender.key)]
        for record, sent in self._queued():
            for part, call in enumerate(sent):
                void = _CANCELLED if self._is_cancelled(record, part) else ""
                found.append(PendingCall(0, sender.key, sender.shard, call, void=void))
        return found + [PendingCall(0, sender.key, sender.shard, call) for call in self._own.sends.values()]

    def _queued(self) -> Iterator[tuple[PendingCommit, tuple[SentCall, ...]]]:
        """Return the queued records that send calls, with these."""
        for queued in self._sender.queued:
            effects = queued.record.effects
            if effects is not None and effects.sends:
                yield queued, effects.sends

    def _find_queued(self, call_id: str) -> tuple[SentCall, PendingCommit, int] | None:
        """Return a queued call with its record and its place in that."""
        for record, sent in self._queued():
            for part, call in enumerate(sent):
                if call.id == call_id:
                    return call, record, part
        return None

    def _noted(self, call: PendingCall) -> PendingCall:
        """Return a durable call with the marks of queued records and of the turn."""
        for queued in self._sender.queued:
            for mark in () if queued.record.effects is None else queued.record.effects.marks:
                if mark.number == call.number:
                    call = call._replace(attempts=mark.attempts, void=mark.void)
            for late in queued.late_marks if isinstance(queued, LateCommit) else ():
                if late.mark.number == call.number:
                    call = call._replace(void=late.mark.void)
        own = self._own.marks.get(call.number)
        return call if own is None else call._replace(void=own.void)

    def _is_cancelled(self, record: PendingCommit, part: int) -> bool:
        """True if a queued record or the turn cancels call ``part`` of the queued ``record``."""
        marks = [*self._own.late_marks]
        for queued in self._sender.queued:
            if isinstance(queued, LateCommit):
                marks += queued.late_marks
        return any(each.record is record and each.part == part for each in marks)
