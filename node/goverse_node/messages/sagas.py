"""The progress of sagas: the record that follows from the end of a saga's running call.

A saga is a note, and its running call has the id of the note as ``then``. One record removes the call and the note, and
sends the next call and the next note; at the end it sends ``then`` as a call of the object to itself. So the progress
and the calls that follow from it are durable together, and no code of the object runs between two steps.
"""

from __future__ import annotations

from goverse.model.call_ids import new_call_id
from goverse.model.effects import Effects, FinishedCall, PendingCall, SentCall
from goverse.model.notes import SAGA, note_id
from goverse.model.outcomes import outcome_body
from goverse.model.sagas import Saga, SagaCall, decode_saga
from goverse_node.messages.commits import MessagesHost
from goverse_node.messages.outboxes import Entry

_PREFIX = note_id(SAGA, "")


def belongs_to_saga(call: SentCall) -> bool:
    """True if a call is a step or an undo of a saga."""
    return call.then.startswith(_PREFIX)


def progress(host: MessagesHost, entry: Entry, note: PendingCall, end: FinishedCall | None) -> Effects:
    """Return the effects that follow from the end of ``entry``, the running call of the saga in ``note``.

    ``end`` is what is kept of the call. A step leaves nothing: an operator who sent it again would make an effect
    outside of the saga. An undo that did not take effect is kept.
    """
    before = decode_saga(note.call.body)
    assert entry.state is not None, "the outcome is known"
    assert entry.reply is not None, "the outcome is known"
    after, now_ms = before.after(entry.state, entry.reply), host.clock.wall_ms()
    sender = note.sender
    call_id = new_call_id(host.shard_access.hash_of(sender), now_ms, host.entropy(10))
    finished = (end,) if before.back and end is not None else ()
    removes = (entry.number, note.number)
    if after.ended is None:
        following = _following(entry.call, after.running, note.call.id, call_id, now_ms, back=after.back)
        return Effects((following, _note(note.call, after)), removes=removes, finished=finished)
    if not after.then:
        return Effects(removes=removes, finished=finished)
    body = outcome_body(note.call.id, after.ended, after.outcome)
    then = note.call._replace(id=call_id, method=after.then, body=body, sent_ms=now_ms, on_failure="dead_letter")
    return Effects((then,), removes=removes, finished=finished)


def _note(note: SentCall, saga: Saga) -> SentCall:
    return note._replace(body=saga.encode())


def _following(ended: SentCall, call: SagaCall, then: str, call_id: str, now_ms: int, *, back: bool) -> SentCall:
    """Return the next call of a saga. An undo is held, instead of given up, after its last attempt."""
    return ended._replace(
        id=call_id,
        receiver=call.receiver,
        method=call.method,
        body=call.body,
        then=then,
        expires_ms=now_ms + call.expires_ms if call.expires_ms else 0,
        attempts_max=call.attempts_max,
        on_failure="hold" if back else "dead_letter",
        sent_ms=now_ms,
    )
