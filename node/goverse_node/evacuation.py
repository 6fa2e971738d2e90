"""Evacuation: the activations of a shard leave memory, because another node is to serve it or does so already.

* *Closing* a shard: its objects take no new call (``moving``, which promises that nothing was executed), turns under
  way end and commit, ``on_deactivate`` runs; turns that still run when time is up are cancelled. When the last
  activation is gone everything that it did is durable, and whoever asked is told.
* *Dropping* a shard: its activations go at once. What they had not committed never takes effect: the store refuses
  their records; calls whose turn had begun are told so, the others get ``moving``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from goverse.errors import Executed, Unavailable, known
from goverse_node.pipeline import UNCHANGED

if TYPE_CHECKING:
    from goverse_node.activation import Activation

Emptied = Callable[[int], None]


class Evacuation:
    """The activations of a node by shard, and the shards that are being emptied."""

    def __init__(self) -> None:
        """Know of no activation."""
        self._resident: dict[int, set[Activation]] = {}
        self._closing: dict[int, Emptied] = {}

    def came(self, activation: Activation) -> None:
        """Note an activation."""
        self._resident.setdefault(activation.shard, set()).add(activation)

    def went(self, activation: Activation) -> None:
        """Note that an activation is gone; tell if it was the last one of a shard that closes."""
        left = self._resident.get(activation.shard)
        if left is None or activation not in left:
            return
        left.discard(activation)
        if not left:
            del self._resident[activation.shard]
            emptied = self._closing.pop(activation.shard, None)
            if emptied is not None:
                emptied(activation.shard)

    def close(self, shards: Iterable[int], cancel_at: float, emptied: Emptied) -> None:
        """Empty ``shards``; ``emptied`` hears of each when it is. Turns that run at ``cancel_at`` are cancelled."""
        slow: list[Activation] = []
        for shard in shards:
            activations = tuple(self._resident.get(shard, ()))
            if not activations:
                emptied(shard)
                continue
            self._closing[shard] = emptied
            for activation in activations:
                activation.vacate()
            slow += self._resident.get(shard, ())
        if slow:
            asyncio.get_running_loop().call_at(cancel_at, _cancel, slow)

    def drop(self, shards: Iterable[int]) -> None:
        """Forget the activations of ``shards`` at once."""
        for shard in shards:
            self._closing.pop(shard, None)
            for activation in tuple(self._resident.get(shard, ())):
                activation.vacate()
                activation.reset(_lost())

    def calls(self, shard: int) -> int:
        """Return how many activations the shard has."""
        return len(self._resident.get(shard, ()))


def _cancel(activations: Iterable[Activation]) -> None:
    for activation in activations:
        for turn in tuple(activation.running):
            turn.expire(_lost())


def _lost() -> Unavailable:
    error = Unavailable(f"the object moved to another node before the call had ended; {UNCHANGED}")
    return known(error, Executed.UNKNOWN)
