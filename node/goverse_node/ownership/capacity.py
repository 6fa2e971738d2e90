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
    fitness = _fitness(weights, loads)
    effective = {node: weight * fitness.get(node, 1.0) for node, weight in weights.items()}
    whole = sum(effective.values())
    found: dict[str, Capacity] = {}
    for node, weight in effective.items():
        share = shard_count * weight / whole
        found[node] = Capacity(share, floor(share * (1 - slack)), ceil(share * (1 + slack)))
    return found


def _fitness(weights: Mapping[str, float], loads: Mapping[str, Load]) -> dict[str, float]:
    """Return by how much each node that told its load counts."""
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
