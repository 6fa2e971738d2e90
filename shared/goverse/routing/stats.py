"""Counters of a router."""

from __future__ import annotations

from dataclasses import dataclass, field

from goverse.cluster.retry_state import Miss


@dataclass(slots=True)
class RouterStats:
    """Counters of calls that did not reach an owner at the first attempt.

    Attributes:
        misses: sends without a result, by cause.
        forwards: calls sent to another node than before.
        parked: how many times a call was parked.
        held: how many times a call was parked without an attempt, because its node was unreachable.
        refused: calls refused because parking was full.
    """

    misses: dict[Miss, int] = field(default_factory=lambda: dict.fromkeys(Miss, 0))
    forwards: int = 0
    parked: int = 0
    held: int = 0
    refused: int = 0
