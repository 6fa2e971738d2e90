"""Effects: what a commit record makes durable besides the state and the kept reply. They concern reliable calls.

The record of a sender adds calls to its outbox. The record of a receiver settles one call (``goverse.model.receipts``).
The record in which a sender learns an outcome removes the call from its outbox. A record without effects has
``effects=None``, so plain calls pay nothing.

A record with effects need not change its object. If it does not, and does not depend on the state either, it expects
``ANY_VERSION``, and the store does not compare versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from goverse.model.keys import ObjectKey
from goverse.model.receipts import Settlement

ANY_VERSION: Final = -1
"""``CommitRecord.expected`` and ``version`` of a record that has effects and does not depend on the object's state."""

OnFailure = Literal["dead_letter", "hold", "drop"]
CallState = Literal["success", "failed", "expired", "cancelled", "dead"]
"""The states of a finished call. Before that it is ``pending``, or ``running`` while a delivery of it is on its way."""

_FORMAT: Final = 1


class SentCall(NamedTuple):
    """A reliable call, as its sender committed it. It never changes.

    Attributes:
        id: names the call to users, ``c_…`` or chosen by the sender, which then has it only once.
        receiver, method, body: the call. ``body`` holds the arguments as JSON in UTF-8.
        then: the method of the sender that receives the outcome, or empty.
        expires_ms: the time at which it becomes void, in milliseconds since the epoch; 0 for never.
        due_ms: the time before which it is not delivered, 0 for at once.
        attempts_max: failed attempts after which it is given up.
        first_ms, longest_ms: bounds of the wait after the first attempt, and of all waits, in milliseconds.
        on_failure: what happens when it is given up.
        keep_ms: how long its outcome can be read after a success, in milliseconds; 0: not at all.
        sent_ms: the time of the turn that sent it.
        subject: the client at the beginning of the chain that led to it, or empty.
        request_id, traceparent, tracestate: of the request that sent it.
    """

    id: str
    receiver: ObjectKey
    method: str
    body: bytes
    then: str = ""
    expires_ms: int = 0
    due_ms: int = 0
    attempts_max: int = 20
    first_ms: int = 200
    longest_ms: int = 300_000
    on_failure: OnFailure = "dead_letter"
    keep_ms: int = 0
    sent_ms: int = 0
    subject: str = ""
    request_id: str = ""
    traceparent: str = ""
    tracestate: str = ""


def same_content(call: SentCall, other: SentCall) -> bool:
    """True if two calls ask the same of the same object, so that the second one repeats the first."""
    return call[1:5] == other[1:5]


class Mark(NamedTuple):
    """A note on a call in the outbox of the record's object.

    Attributes:
        number: the call.
        attempts: attempts to remember: a node that dies during one leaves no other trace of it.
        void: the reason for which the call must not run any more, or empty.
    """

    number: int
    attempts: int = 0
    void: str = ""


class FinishedCall(NamedTuple):
    """The end of a call that its sender keeps for readers, and for a redrive if it is dead.

    Attributes:
        call: the call.
        sender: the object that sent it.
        state: how it ended.
        outcome: an encoded reply (``goverse.model.replies``); empty if there was none.
        attempts: the attempts that failed.
        finished_ms: the time of the end, in milliseconds since the epoch.
        expires_ms: the time until which it is kept.
    """

    call: SentCall
    sender: ObjectKey
    state: CallState
    outcome: bytes
    attempts: int
    finished_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Effects:
    """The effects of one commit record.

    Attributes:
        sends: calls that the object sends, in order. Their numbers follow from the record's position (``number_of``).
        settles: the call of another object that the record settles, or None.
        removes: numbers of calls of the object's outbox whose outcomes it has learnt. Unknown ones are ignored.
        marks: notes on calls of its outbox. Unknown numbers are ignored.
        finished: ends of calls that it keeps.
    """

    sends: tuple[SentCall, ...] = ()
    settles: Settlement | None = None
    removes: tuple[int, ...] = ()
    marks: tuple[Mark, ...] = ()
    finished: tuple[FinishedCall, ...] = ()

    @property
    def size(self) -> int:
        """An estimate of the bytes that they take in a store."""
        settled = len(self.settles.outcome) + 96 if self.settles is not None else 0
        sent = sum(len(call.body) + 192 for call in self.sends)
        kept = sum(len(end.call.body) + len(end.outcome) + 256 for end in self.finished)
        return settled + sent + kept + 24 * len(self.removes) + 32 * len(self.marks)


class PendingCall(NamedTuple):
    """A call in an outbox.

    Attributes:
        number: its place in the order of its pair.
        sender: the object that sent it.
        shard: the sender's shard.
        call: the call.
        attempts, void: the latest ``Mark``.
    """

    number: int
    sender: ObjectKey
    shard: int
    call: SentCall
    attempts: int = 0
    void: str = ""


def encode_call(call: SentCall) -> bytes:
    """Return the stored form of a call: a format byte, the length of a JSON array, the array, and the body."""
    members: list[Any] = [call.id, list(call.receiver), call.method, *call[4:]]
    head = orjson.dumps(members)
    return bytes((_FORMAT,)) + len(head).to_bytes(4, "little") + head + call.body


def decode_call(stored: bytes) -> SentCall:
    """Return the call from its stored form. Members that a later release appended are ignored.

    Raises:
        ValueError: the bytes are not a stored call.
    """
    if len(stored) < 5 or stored[0] != _FORMAT:
        raise ValueError("not a stored call of format 1")
    end = 5 + int.from_bytes(stored[1:5], "little")
    members = orjson.loads(stored[5:end])
    call_id, receiver, method, *rest = members
    return SentCall(call_id, ObjectKey(*receiver), method, stored[end:], *rest[: len(SentCall._fields) - 4])
