"""Input and output of the planner, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from goverse.cluster.member import Load, Member
from goverse.cluster.targets import Targets
from goverse.limits import MOVES_IN_FLIGHT, MOVES_PER_ROUND


class Reason(Enum):
    """Reason for which a shard gets another target."""

    UNPLACED = "unplaced"  # it never had a target
    OWNER_GONE = "owner_gone"  # its target is not alive
    STUCK = "stuck"  # its target did not take it, or its owner did not release it, in time
    PIN = "pin"  # an operator pinned it to another node
    DRAIN = "drain"  # its target is draining
    SURPLUS = "surplus"  # its target has more than its share
    SHORTAGE = "shortage"  # its new target has less than its share
    LOAD = "load"  # its target is busier than others


class Decision(NamedTuple):
    """The new target of a shard, with the reason."""

    shard: int
    source: str | None
    target: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """Limits of a plan.

    Attributes:
        slack: the fraction by which a node may be above or below its share before shards move.
        moves_per_round: the number of served shards that one plan may move.
        moves_in_flight: the number of served shards that may be moving at any time.
        load_moves_per_round: the number of moves because of load in one plan. It is small, because load figures
            describe the past.
        quorum: the least number of living nodes with which shards are placed.
    """

    slack: float = 0.05
    moves_per_round: int = MOVES_PER_ROUND
    moves_in_flight: int = MOVES_IN_FLIGHT
    load_moves_per_round: int = 8
    quorum: int = 1


@dataclass(frozen=True, slots=True)
class Situation:
    """The complete input of a plan.

    Attributes:
        targets: the current targets.
        claimants: for each shard the living node that serves it, or None.
        nodes: the living nodes.
        pins: the node of each pinned shard.
        drains: the nodes that an operator drains.
        loads: the reported load of each node.
        refused: for each shard that was stuck, the nodes that do not get it for now.
        awaited: the nodes that left for a restart and are expected back.
        limits: the limits of the plan.
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
    """The result of planning.

    Attributes:
        targets: the new target of each shard.
        decisions: every shard whose target has changed, with the reason.
        deferred: the number of moves that wait for a later round.
        imbalance: the number of shards of the fullest node, as a multiple of its share; 1.0 is even.
        held: the reason why nothing could be placed, or empty.
    """

    targets: Targets
    decisions: Sequence[Decision]
    deferred: int
    imbalance: float
    held: str = ""
