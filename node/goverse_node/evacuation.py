"""Evacuation: removal of a shard's activations from memory, when another node takes over the shard or already has.

* *Closing* a shard: new calls are answered with ``moving``, which guarantees that nothing was executed. Running turns
  end and commit, and ``on_deactivate`` runs. Turns that still run at the time limit are cancelled. When the last
  activation is gone, all its commits are durable, and the callback ``emptied`` is called.
* *Dropping* a shard: its activations are removed immediately. Their uncommitted changes never take effect, because the
  store refuses the records. Calls whose turn has begun fail with ``unavailable``; the others get ``moving``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from goverse.errors import Executed, Unavailable, known
from goverse_node.runtime.activation import Activation
from goverse_node.runtime.group_commit import UNCHANGED

Emptied = Callable[[int], None]


class Evacuation:
    """The activations of a node by shard, and the shards that are closing."""

    def __init__(self) -> None:
        self._resident: dict[int, dict[Activation, None]] = {}  # in the order of activation
        self._closing: dict[int, Emptied] = {}
        self._timers: list[asyncio.TimerHandle] = []

    def add(self, activation: Activation) -> None:
        """Register a new activation."""
        self._resident.setdefault(activation.shard, {})[activation] = None

    def remove(self, activation: Activation) -> None:
        """Remove an activation. If it was the last one of a closing shard, call the shard's ``emptied``."""
        left = self._resident.get(activation.shard)
        if left is None or activation not in left:
            return
        del left[activation]
        if not left:
            del self._resident[activation.shard]
            emptied = self._closing.pop(activation.shard, None)
            if emptied is not None:
                self._forget_timers()
                emptied(activation.shard)

    def close(self, shards: Iterable[int], cancel_at: float, emptied: Emptied) -> None:
        """Close ``shards``. ``emptied`` is called with each as soon as it has no activation.

        Turns that still run at ``cancel_at`` (on the loop's clock) are cancelled.
        """
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
            self._timers.append(asyncio.get_running_loop().call_at(cancel_at, _cancel, slow))

    def drop(self, shards: Iterable[int]) -> None:
        """Remove the activations of ``shards`` immediately."""
        for shard in shards:
            self._closing.pop(shard, None)
            self._forget_timers()
            for activation in tuple(self._resident.get(shard, ())):
                activation.vacate()
                activation.reset(_lost())

    def _forget_timers(self) -> None:
        """Cancel the timers once no shard is closing."""
        if not self._closing:
            for timer in self._timers:
                timer.cancel()
            self._timers.clear()


def _cancel(activations: Iterable[Activation]) -> None:
    for activation in activations:
        for turn in tuple(activation.running):
            turn.expire(_lost())


def _lost() -> Unavailable:
    error = Unavailable(f"the object moved to another node before the call had ended; {UNCHANGED}")
    return known(error, Executed.UNKNOWN)
