"""State machine of a shard on one node.

    ABSENT ──wanted──▶ CLAIMING ──granted──▶ HELD ──published──▶ OPEN ──unwanted──▶ CLOSING ──emptied──▶ ABSENT

CLAIMING  The store has been asked to raise the shard's epoch for this node.
HELD      The epoch was raised. The claim is not in etcd yet, so no turn may run.
OPEN      The claim is published in etcd. Turns run.
CLOSING   Running turns finish and commit. New calls are answered with ``moving``.

Invariant: the claim is published before the shard opens, and withdrawn only after its last turn is durable. A node that
checks etcd for an existing claim before it claims a shard will therefore always find ours while we can still answer.

Fencing ends HELD, OPEN and CLOSING immediately. A shard that is still CLOSING after ``stuck_after_s`` is given up by
force. This is safe because the next owner raises the epoch, and the router sends the interrupted calls again.

Pairs that are missing from ``NEXT`` are late events about a shard that has already moved on. They are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from goverse.limits import CLAIM_RETRY_S, CLOSE_BUDGET_S, STUCK_AFTER_S


@dataclass(frozen=True, slots=True)
class OwnershipLimits:
    """Time limits of the phases of a shard.

    Attributes:
        claim_retry_s: pause after a failed request.
        close_budget_s: time in CLOSING after which turns that still run are cancelled.
        stuck_after_s: time in CLAIMING after which the claim counts as denied, and time in CLOSING after which the
            shard is given up by force.
    """

    claim_retry_s: float = CLAIM_RETRY_S
    close_budget_s: float = CLOSE_BUDGET_S
    stuck_after_s: float = STUCK_AFTER_S


class ShardPhase(Enum):
    """Phase of a shard on this node."""

    ABSENT = auto()
    CLAIMING = auto()
    HELD = auto()
    OPEN = auto()
    CLOSING = auto()


class ShardEvent(Enum):
    """An input of the state machine."""

    WANTED = auto()  # the shard is assigned to this node and no live node claims it
    GRANTED = auto()  # the store raised the epoch for this node
    DENIED = auto()  # the store did not answer, or its outcome is unknown
    PUBLISHED = auto()  # our claim is visible in etcd
    UNWANTED = auto()  # the shard is assigned to another live node, or this node is leaving
    EMPTIED = auto()  # no activation is left and all commits are durable
    FENCED = auto()  # another node holds a newer epoch
    OVERDUE = auto()  # closing took longer than ``stuck_after_s``


NEXT: Final[dict[tuple[ShardPhase, ShardEvent], ShardPhase]] = {
    (ShardPhase.ABSENT, ShardEvent.WANTED): ShardPhase.CLAIMING,
    (ShardPhase.CLAIMING, ShardEvent.GRANTED): ShardPhase.HELD,
    (ShardPhase.CLAIMING, ShardEvent.DENIED): ShardPhase.ABSENT,
    (ShardPhase.HELD, ShardEvent.PUBLISHED): ShardPhase.OPEN,
    (ShardPhase.HELD, ShardEvent.UNWANTED): ShardPhase.ABSENT,
    (ShardPhase.HELD, ShardEvent.FENCED): ShardPhase.ABSENT,
    (ShardPhase.OPEN, ShardEvent.UNWANTED): ShardPhase.CLOSING,
    (ShardPhase.OPEN, ShardEvent.FENCED): ShardPhase.ABSENT,
    (ShardPhase.CLOSING, ShardEvent.EMPTIED): ShardPhase.ABSENT,
    (ShardPhase.CLOSING, ShardEvent.FENCED): ShardPhase.ABSENT,
    (ShardPhase.CLOSING, ShardEvent.OVERDUE): ShardPhase.ABSENT,
}
