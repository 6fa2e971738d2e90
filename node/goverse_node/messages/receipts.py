"""Receipts: the rule by which a receiver accepts each reliable call of a sender once, and in order.

Calls from one object to another form a *pair*. The sender numbers the calls of a pair in the order of its commits. The
receiver keeps one receipt per pair: the number of the last call that it has settled. The receipt is part of the commit
that settles the call, so the effect of a call and the knowledge of it are durable together or not at all.

A delivery carries three numbers: its own, the number of the unsettled call before it in the pair (``prev``, 0 for the
first one), and the number of the first call
whose outcome the sender has not committed (``head``).

* A number up to the receipt is a duplicate. Its outcome is still kept if it is not below ``head``.
* A delivery whose predecessor is settled, or that has none, is next.
* Any other delivery arrived before its predecessor. The sender repeats from the head of the pair.

No time window is involved: numbers come from positions of the store, which are never used twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

WINDOW: Final = 16
"""Deliveries of one pair that may be on their way at a time, and outcomes that a receipt keeps at most."""


class Verdict(Enum):
    """The answer to a delivery before any code runs."""

    NEXT = 1
    DUPLICATE = 2
    OUT_OF_ORDER = 3


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to deliver a call of a pair.

    Attributes:
        number: the call's place in the order of the pair; above 0.
        prev: the number of the unsettled call before it, or 0.
        head: the number of the first call of the pair whose outcome the sender has not committed.
        attempt: counts the deliveries of the call, so that its sender can tell a late answer from the present one.
        void: settle the call without running it: it has expired, or was cancelled, skipped or given up.
    """

    number: int
    prev: int
    head: int
    attempt: int = 1
    void: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receiver keeps for one sender.

    Attributes:
        last: the number of the last call that was settled; 0 if there was none.
        outcomes: the outcomes of calls that the sender may still ask for, by number.
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

    def settled(self, delivery: Delivery, outcome: bytes | None) -> Receipt:
        """Return the receipt after the delivery was settled. ``outcome`` is kept until the sender has committed it.

        Outcomes below the head of the pair are dropped: the sender has committed them.
        """
        assert self.judge(delivery) is Verdict.NEXT
        kept = {number: kept for number, kept in self.outcomes.items() if number >= delivery.head}
        if outcome is not None:
            kept[delivery.number] = outcome
        assert len(kept) <= WINDOW, "the sender has more deliveries on their way than the window allows"
        return Receipt(delivery.number, kept)
