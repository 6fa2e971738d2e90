"""Receipts: the rule by which a receiver accepts each reliable call of a sender once, and in order.

Calls from one object to another form a *pair*. The sender numbers the calls of a pair in the order of its commits. The
receiver keeps one receipt per pair: the number of the last call that it has settled. The receipt is part of the commit
that settles the call, so the effect of a call and the knowledge of it are durable together or not at all.

A delivery carries three numbers: its own, the number of the unsettled call before it in the pair (``prev``, 0 for the
first one), and the number of the first call whose outcome the sender has not committed (``head``).

* A number up to the receipt is a duplicate. Its outcome is still kept if it is not below ``head``.
* A delivery whose predecessor is settled, or that has none, is next.
* Any other delivery arrived before its predecessor. The sender repeats from the head of the pair.

No time window is involved: a number is a position in the store and a place in that commit (``number_of``), and
positions are never used twice, not even after a restore.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from goverse.model.keys import ObjectKey

WINDOW: Final = 16
"""Deliveries of one pair that may be on their way at a time, and outcomes that a receipt keeps at most."""

SENDS_MAX: Final = 10_000
"""Calls that one turn may send, and that one object may have pending."""

LOST_WITH: Final = "lost_with"
"""The member of the problem of a lost delivery, from the sender's router: the process that it was lost with."""

_PART_BITS: Final = 14

PARTS: Final = 1 << _PART_BITS
"""Numbers per commit. A part is below this."""

assert PARTS > SENDS_MAX


def number_of(commit_seq: int, part: int) -> int:
    """Return the number of a call: ``part`` is its place, from 0, among the calls of the commit at ``commit_seq``."""
    return commit_seq << _PART_BITS | part


def place_of(number: int) -> tuple[int, int]:
    """Return the position and the part from which ``number_of`` made a number."""
    return number >> _PART_BITS, number & (1 << _PART_BITS) - 1


class Verdict(Enum):
    """The answer to a delivery before any code runs."""

    NEXT = 1
    DUPLICATE = 2
    OUT_OF_ORDER = 3


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to deliver a call of a pair. It travels with the request to the receiver.

    Attributes:
        sender: the object that sent the call. The receiver is the object of the request.
        number: the call's place in the order of the pair; above 0.
        prev: the number of the unsettled call before it, or 0.
        head: the number of the first call of the pair whose outcome the sender has not committed.
        attempt: counts the deliveries of the call, so that its sender can tell a late answer from the present one.
        void: settle the call without running it: it has expired, or was cancelled, skipped or given up.
        id: the id of the call.
        sent_ms: the time of this delivery, in milliseconds since the epoch by the wall clock of the sender's node.
        alone: the call is suspected of ending the nodes that run it. The receiver's node runs one such delivery at a
            time, and asks the sender to repeat it as soon as it can run (``goverse_node.runtime.alone``).
        lost_with: the process that an earlier delivery was lost with, as its router named it, or empty. It does not
            travel: if that process has ended, the sender's router answers instead of delivering the call again.
    """

    sender: ObjectKey
    number: int
    prev: int
    head: int
    attempt: int = 1
    void: bool = False
    id: str = ""
    sent_ms: int = 0
    alone: bool = False
    lost_with: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The part of a commit record that settles one call at its receiver, the object of the record.

    A store accepts it only if ``delivery`` is next (``Receipt.judge``) after the receipt that it holds.

    Attributes:
        delivery: the delivery that is settled.
        outcome: the outcome, kept until the sender has committed it: an encoded reply (``goverse.model.replies``),
            empty for a void delivery.
    """

    delivery: Delivery
    outcome: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """The memory that a receiver has of one sender.

    Attributes:
        last: the number of the last call that was settled; 0 if there was none.
        outcomes: the outcomes of calls that the sender may still ask for, by number, in order.
    """

    last: int = 0
    outcomes: Mapping[int, bytes] = field(default_factory=dict[int, bytes])

    def judge(self, delivery: Delivery) -> Verdict:
        """Return whether the delivery is next, a repetition, or too early."""
        if delivery.number <= self.last:
            return Verdict.DUPLICATE
        if delivery.prev in (0, self.last):
            return Verdict.NEXT
        return Verdict.OUT_OF_ORDER

    def outcome_of(self, delivery: Delivery) -> bytes | None:
        """Return the kept outcome of a duplicate, or None if its sender has committed it already."""
        return self.outcomes.get(delivery.number)

    def settled(self, settlement: Settlement) -> Receipt:
        """Return the receipt after a settlement, whose delivery must be next.

        Outcomes below the head of the pair are dropped: the sender has committed them.
        """
        delivery = settlement.delivery
        assert self.judge(delivery) is Verdict.NEXT
        kept = {number: outcome for number, outcome in self.outcomes.items() if number >= delivery.head}
        kept[delivery.number] = settlement.outcome
        assert len(kept) <= WINDOW, "the sender has more deliveries on their way than the window allows"
        return Receipt(delivery.number, kept)


NO_RECEIPT: Final = Receipt()
