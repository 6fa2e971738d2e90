"""Marks on calls that get a new number: a delayed call is sent again under the same id when it is due.

A record with a mark and the record that sends the call again can meet in the queue of the commit pipeline:

* A mark behind the record that sends the call again would name a number that is gone by then. It becomes a late mark,
  whose number follows from the position of that record.
* The call is not sent again while a mark on it is queued. If the mark becomes durable, the call ends instead.

So a cancellation that was accepted is durable on the call's present number, and a call never has two ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from goverse.errors import GoverseError
from goverse.model.effects import Mark
from goverse_node.messages.outboxes import Entry, Outboxes
from goverse_node.runtime.group_commit import LateCommit, LateMark, PendingCommit


class Marking:
    """Gives marks the numbers that their calls have when the marks become durable."""

    def __init__(self, outboxes: Outboxes, again: Callable[[Entry], None]) -> None:
        """``again`` receives each call of which no mark is queued any more."""
        self._outboxes = outboxes
        self._again = again

    def addressed(self, pending: PendingCommit, late_marks: Sequence[LateMark]) -> PendingCommit:
        """Return the record to queue instead of ``pending``, with the present numbers and with ``late_marks``."""
        effects = pending.record.effects
        late, marks, marked = list(late_marks), list[Mark](), list[Entry]()
        for mark in () if effects is None else effects.marks:
            entry = self._outboxes.present(mark.number)
            if entry is None:
                marks.append(mark)
                continue
            marked.append(entry)
            present = mark._replace(number=entry.number)
            if entry.again is None:
                marks.append(present)
            else:
                late.append(LateMark(entry.again, 0, present))
        if effects is not None and marked:
            pending.record = replace(pending.record, effects=replace(effects, marks=tuple(marks)))
        if late:
            pending = LateCommit(pending.record, pending.owner, pending.call, pending.reply, late)
        if marked:
            for entry in marked:
                entry.marks += 1
            pending.wait(partial(self._settled, marked))
        return pending

    def _settled(self, marked: Sequence[Entry], _commit_seq: int, _error: GoverseError | None) -> None:
        for entry in marked:
            entry.marks -= 1
            if not entry.marks:
                self._again(entry)
