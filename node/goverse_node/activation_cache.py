"""Which activations stay in memory: bounded in number and bytes, least recently used first, and not longer than idle.

Pure bookkeeping. Activations of equal idle time stand in one queue in order of their last use, so both questions
(who is idle too long, who was used least recently) look only at the heads of a few queues.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from goverse.model.keys import ObjectKey
from goverse_node.activation import Activation

_SCAN_MAX = 64  # busy activations that are passed over in one search for a victim
VICTIMS_MAX = 500  # passivations for want of room in one turn of the loop, so that it goes on in some milliseconds
_OVERDUE_MAX = 2_000  # passivations in one sweep, so that a sweep stays short


class ActivationCache:
    """The activations of a node, ordered by last use."""

    def __init__(self, *, idle_timeout_s: float, count_max: int, bytes_max: int) -> None:
        """Bound the memory; types may have an idle time of their own."""
        self._idle_timeout_s = idle_timeout_s
        self._count_max = count_max
        self.bytes_max = bytes_max
        self._all: dict[ObjectKey, Activation] = {}
        self._queues: dict[float, OrderedDict[ObjectKey, Activation]] = {}
        self._leaving: set[ObjectKey] = set()
        self.bytes = 0
        self.get = self._all.get

    def __len__(self) -> int:
        """Count the activations."""
        return len(self._all)

    def __iter__(self) -> Iterator[Activation]:
        """Go through the activations of this moment."""
        return iter(tuple(self._all.values()))

    @property
    def leaving(self) -> int:
        """How many are being passivated."""
        return len(self._leaving)

    def _queue(self, activation: Activation) -> OrderedDict[ObjectKey, Activation]:
        timeout = activation.spec.policy.idle_timeout_s or self._idle_timeout_s
        queue = self._queues.get(timeout)
        if queue is None:
            queue = self._queues[timeout] = OrderedDict()
        return queue

    def add(self, activation: Activation) -> None:
        """Take a new activation in."""
        self._all[activation.key] = activation
        self._queue(activation)[activation.key] = activation

    def discard(self, activation: Activation) -> None:
        """Let an activation go; a newer one of the same key stays."""
        if self._all.get(activation.key) is activation:
            self.release(activation)
            del self._all[activation.key]
            self._leaving.discard(activation.key)

    def release(self, activation: Activation) -> None:
        """Note that an activation is about to go: its place counts as free from now on."""
        if activation.key not in self._leaving and self._all.get(activation.key) is activation:
            self._leaving.add(activation.key)
            del self._queue(activation)[activation.key]
            self.bytes -= activation.counted_bytes
            activation.counted_bytes = 0

    def touch(self, activation: Activation, now: float) -> None:
        """Note a use."""
        activation.last_used = now
        if activation.key not in self._leaving:
            self._queue(activation).move_to_end(activation.key)

    def resize(self, activation: Activation) -> bool:
        """Note what may be a changed size; tell whether a bound is passed."""
        size = activation.instance.resident_bytes
        if (
            size != activation.counted_bytes
            and self._all.get(activation.key) is activation
            and activation.key not in self._leaving
        ):
            self.bytes += size - activation.counted_bytes
            activation.counted_bytes = size
        return self._is_full()

    def _is_full(self) -> bool:
        return self.bytes > self.bytes_max or len(self._all) - len(self._leaving) > self._count_max

    def surplus(self, now: float) -> Activation | None:
        """Return the idle activation that should go because a bound is passed, or None.

        Busy ones that stand before it are in use now, so they go to the end of their queue: however many they are, they
        are passed over once and hide nobody for long.
        """
        if not self._is_full():
            return None
        best: Activation | None = None
        for queue in self._queues.values():
            for _ in range(min(_SCAN_MAX, len(queue))):
                candidate = next(iter(queue.values()))
                if candidate.idle:
                    if best is None or candidate.last_used < best.last_used:
                        best = candidate
                    break
                self.touch(candidate, now)
        return best

    def overdue(self, now: float) -> list[Activation]:
        """Return the activations that were idle for longer than their time."""
        found: list[Activation] = []
        for timeout, queue in self._queues.items():
            for candidate in queue.values():
                if candidate.last_used + timeout > now or len(found) >= _OVERDUE_MAX:
                    break
                if candidate.idle:
                    found.append(candidate)
        return found
