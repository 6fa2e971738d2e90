"""How many shards each node should have: its share by weight, and how far from it is still fine.

A node that is short of memory or of processor time, or holds far more objects than others, counts for less. The steps
are coarse on purpose: figures that wobble must not make shards move.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor
from typing import Final, NamedTuple

from goverse.cluster.member import Load

_MEMORY_TIGHT: Final = 0.85
_MEMORY_FULL: Final = 0.95
_PROCESSOR_BUSY: Final = 0.9
_PROCESSOR_EASY: Final = 0.7  # on the average of the nodes: with all of them busy, moving shards helps nobody
_OBJECTS_MANY: Final = 10_000  # fewer are no burden, however uneven they are
_OBJECTS_UNEVEN: Final = 2.0


class Capacity(NamedTuple):
    """A node's share of the shards, and the bounds within which it is left alone."""

    share: float
    least: int
    most: int


def capacities(
    weights: Mapping[str, float], loads: Mapping[str, Load], shard_count: int, slack: float
) -> dict[str, Capacity]:
    """Return the capacity of each node of ``weights``."""
    effective = {node: weight * _fitness(node, weights, loads) for node, weight in weights.items()}
    whole = sum(effective.values())
    found: dict[str, Capacity] = {}
    for node, weight in effective.items():
        share = shard_count * weight / whole
        found[node] = Capacity(share, floor(share * (1 - slack)), ceil(share * (1 + slack)))
    return found


def _fitness(node: str, weights: Mapping[str, float], loads: Mapping[str, Load]) -> float:
    load = loads.get(node)
    if load is None:
        return 1.0
    known = [loads[other] for other in weights if other in loads]
    if load.memory >= _MEMORY_FULL:
        return 0.5
    busy = load.processor >= _PROCESSOR_BUSY and sum(one.processor for one in known) / len(known) < _PROCESSOR_EASY
    objects = sum(one.activations for one in known) / sum(weights[other] for other in weights if other in loads)
    uneven = load.activations > max(_OBJECTS_MANY, _OBJECTS_UNEVEN * objects * weights[node])
    return 0.75 if busy or uneven or load.memory >= _MEMORY_TIGHT else 1.0
