"""Capacity of nodes: the number of shards that each node should have, and the tolerated deviation.

A node's share is proportional to its weight. A node that is short of memory, that is busy while the others are not, or
that holds far more objects than the others counts for less: 75 % of its weight, or 50 % if its memory is nearly full.
The steps are coarse so that fluctuating figures do not move shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor
from typing import Final, NamedTuple

from goverse.cluster.member import Load

_MEMORY_TIGHT: Final = 0.85
_MEMORY_FULL: Final = 0.95
_PROCESSOR_BUSY: Final = 0.9
_PROCESSOR_EASY: Final = 0.7  # mean of all nodes; above it moving shards would not help, because all nodes are busy
_OBJECTS_MANY: Final = 10_000  # with fewer objects, an uneven distribution is tolerated
_OBJECTS_UNEVEN: Final = 2.0


class Capacity(NamedTuple):
    """A node's share of the shards, and the bounds within which no shard is moved because of it."""

    share: float
    least: int
    most: int


def capacities(
    weights: Mapping[str, float], loads: Mapping[str, Load], shard_count: int, slack: float
) -> dict[str, Capacity]:
    """Return the capacity of each node in ``weights``."""
    fitness = _fitness(weights, loads)
    effective = {node: weight * fitness.get(node, 1.0) for node, weight in weights.items()}
    whole = sum(effective.values())
    found: dict[str, Capacity] = {}
    for node, weight in effective.items():
        share = shard_count * weight / whole
        found[node] = Capacity(share, floor(share * (1 - slack)), ceil(share * (1 + slack)))
    return found


def _fitness(weights: Mapping[str, float], loads: Mapping[str, Load]) -> dict[str, float]:
    """Return the factor on the weight of each node that has reported its load."""
    known = {node: loads[node] for node in weights if node in loads}
    if not known:
        return {}
    easy = sum(one.processor for one in known.values()) / len(known) < _PROCESSOR_EASY
    objects = sum(one.activations for one in known.values()) / sum(weights[node] for node in known)
    found: dict[str, float] = {}
    for node, load in known.items():
        busy = easy and load.processor >= _PROCESSOR_BUSY
        uneven = load.activations > max(_OBJECTS_MANY, _OBJECTS_UNEVEN * objects * weights[node])
        short = busy or uneven or load.memory >= _MEMORY_TIGHT
        found[node] = 0.5 if load.memory >= _MEMORY_FULL else 0.75 if short else 1.0
    return found
