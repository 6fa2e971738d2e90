"""What the planner is told, and what it answers: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from goverse.cluster.member import Load, Member
from goverse.cluster.targets import Targets
from goverse.limits import MOVES_IN_FLIGHT, MOVES_PER_ROUND


class Reason(Enum):
    """Why a shard gets another target."""

    UNPLACED = "unplaced"  # it never had one
    OWNER_GONE = "owner_gone"  # its target does not live
    STUCK = "stuck"  # its target did not take it, or its owner did not let go of it, in time
    PIN = "pin"  # an operator pinned it
    DRAIN = "drain"  # its target gives its shards away
    SURPLUS = "surplus"  # its target has more than its share
    SHORTAGE = "shortage"  # its new target has less than its share
    LOAD = "load"  # its target has more to do than others


class Decision(NamedTuple):
    """One shard's new target, and why."""

    shard: int
    source: str | None
    target: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What bounds a plan.

    Attributes:
        slack: by which part a node may be above or below its share before shards move.
        moves_per_round: healthy shards that one plan may move.
        moves_in_flight: healthy shards that may be on their way at any time.
        load_moves_per_round: of those, moves because of load: its figures tell of the past, so they go step by step.
        quorum: with fewer living nodes nothing is placed.
    """

    slack: float = 0.05
    moves_per_round: int = MOVES_PER_ROUND
    moves_in_flight: int = MOVES_IN_FLIGHT
    load_moves_per_round: int = 8
    quorum: int = 1


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a plan depends on.

    Attributes:
        targets: the intent so far.
        claimants: per shard the node that serves it and lives, or None.
        nodes: the living nodes.
        pins: per pinned shard, its node.
        drains: nodes that an operator drains.
        loads: what each node has to do.
        refused: per shard that was stuck, the nodes that do not get it for now.
        awaited: nodes that left in order to come back soon.
        limits: what bounds the plan.
    """

    targets: Targets
    claimants: Sequence[str | None]
    nodes: Mapping[str, Member]
    pins: Mapping[int, str] = field(default_factory=dict[int, str])
    drains: frozenset[str] = frozenset()
    loads: Mapping[str, Load] = field(default_factory=dict[str, Load])
    refused: Mapping[int, frozenset[str]] = field(default_factory=dict[int, frozenset[str]])
    awaited: frozenset[str] = frozenset()
    limits: PlanLimits = field(default_factory=PlanLimits)


class Plan(NamedTuple):
    """The new intent.

    Attributes:
        targets: who should own what.
        decisions: every shard whose target is another one than before, with the reason.
        deferred: moves that are wanted and wait for a later round.
        imbalance: how full the fullest node will be, as a multiple of its share; 1.0 is even.
        held: why nothing could be placed, or empty.
    """

    targets: Targets
    decisions: Sequence[Decision]
    deferred: int
    imbalance: float
    held: str = ""
