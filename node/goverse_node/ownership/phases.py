"""A shard's life on one node, as one table.

    ABSENT ──wanted──▶ CLAIMING ──granted──▶ HELD ──published──▶ OPEN ──unwanted──▶ CLOSING ──emptied──▶ ABSENT

* CLAIMING: the store is asked for a new epoch. HELD: the epoch is ours, but nobody was told; no turn runs. OPEN: the
  claims in etcd name it; turns run. CLOSING: turns under way end and commit, new ones are answered ``moving``.
* A shard is not opened before its claim is published, and is published until its last turn is durable: so nobody who
  looks for claims before he claims can find none while this node answers.
* What the store fenced off is gone at once, whatever it was doing. What does not close in time is given up by force:
  the epoch keeps that safe, and the calls under way are sent again.

A pair that is not in the table is late news about a shard that has moved on, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from goverse.limits import CLAIM_RETRY_S, CLOSE_BUDGET_S, STUCK_AFTER_S


@dataclass(frozen=True, slots=True)
class OwnershipLimits:
    """How long a shard may stand where it stands, on one node.

    Attributes:
        claim_retry_s: pause after a request that failed.
        close_budget_s: CLOSING; then turns that still run are cancelled.
        stuck_after_s: CLAIMING, after which the claim counts as denied, and CLOSING, after which the shard is given up.
    """

    claim_retry_s: float = CLAIM_RETRY_S
    close_budget_s: float = CLOSE_BUDGET_S
    stuck_after_s: float = STUCK_AFTER_S


class Phase(Enum):
    """Where a shard stands."""

    ABSENT = auto()
    CLAIMING = auto()
    HELD = auto()
    OPEN = auto()
    CLOSING = auto()


class Event(Enum):
    """What happens to a shard."""

    WANTED = auto()  # it is our target, and nobody alive claims it
    GRANTED = auto()  # the store raised its epoch in our name
    DENIED = auto()  # the store did not answer, or it is not known what it did
    PUBLISHED = auto()  # our claims in etcd name it
    UNWANTED = auto()  # its target is elsewhere, and lives; or we leave
    EMPTIED = auto()  # its activations have left memory, and all they did is durable
    FENCED = auto()  # somebody else has a newer epoch
    OVERDUE = auto()  # it should have been empty by now


NEXT: Final[dict[tuple[Phase, Event], Phase]] = {
    (Phase.ABSENT, Event.WANTED): Phase.CLAIMING,
    (Phase.CLAIMING, Event.GRANTED): Phase.HELD,
    (Phase.CLAIMING, Event.DENIED): Phase.ABSENT,
    (Phase.HELD, Event.PUBLISHED): Phase.OPEN,
    (Phase.HELD, Event.UNWANTED): Phase.ABSENT,
    (Phase.HELD, Event.FENCED): Phase.ABSENT,
    (Phase.OPEN, Event.UNWANTED): Phase.CLOSING,
    (Phase.OPEN, Event.FENCED): Phase.ABSENT,
    (Phase.CLOSING, Event.EMPTIED): Phase.ABSENT,
    (Phase.CLOSING, Event.FENCED): Phase.ABSENT,
    (Phase.CLOSING, Event.OVERDUE): Phase.ABSENT,
}
