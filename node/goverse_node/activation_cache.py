"""Cache of activations, bounded in number and bytes, with least-recently-used order and idle timeouts.

Pure bookkeeping: the node passivates the activations that ``surplus`` and ``overdue`` return. Activations with the same
idle timeout are in one queue, in the order of their last use. So the least recently used activation, and those that
are idle for too long, are found at the heads of a few queues.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from goverse.model.keys import ObjectKey
from goverse_node.runtime.activation import Activation

_SCAN_MAX = 64  # busy activations that one search for a victim skips per queue
VICTIMS_MAX = 500  # activations evicted in one event-loop iteration, so that it takes some milliseconds at most
_OVERDUE_MAX = 2_000  # activations returned by one ``overdue``, so that a sweep stays short


class ActivationCache:
    """The activations of a node, ordered by last use.

    Attributes:
        bytes: estimated memory of all activations, without those that are leaving.
        bytes_max: bound on ``bytes``.
        get: return the activation of a key, or None.
    """

    def __init__(self, *, idle_timeout_s: float, count_max: int, bytes_max: int) -> None:
        """Set the bounds. A type's own ``idle_timeout_s`` takes precedence over the one given here."""
        self._idle_timeout_s = idle_timeout_s
        self._count_max = count_max
        self.bytes_max = bytes_max
        self._all: dict[ObjectKey, Activation] = {}
        self._queues: dict[float, OrderedDict[ObjectKey, Activation]] = {}
        self._leaving: set[ObjectKey] = set()
        self.bytes = 0
        self.get = self._all.get

    def __len__(self) -> int:
        """Return the number of activations, with those that are leaving."""
        return len(self._all)

    def __iter__(self) -> Iterator[Activation]:
        """Iterate over a copy, so that the cache may change during the iteration."""
        return iter(tuple(self._all.values()))

    @property
    def leaving(self) -> int:
        """The number of activations that are being passivated."""
        return len(self._leaving)

    def _queue(self, activation: Activation) -> OrderedDict[ObjectKey, Activation]:
        timeout = activation.spec.policy.idle_timeout_s or self._idle_timeout_s
        queue = self._queues.get(timeout)
        if queue is None:
            queue = self._queues[timeout] = OrderedDict()
        return queue

    def add(self, activation: Activation) -> None:
        """Add a new activation."""
        self._all[activation.key] = activation
        activation.queue = self._queue(activation)
        activation.queue[activation.key] = activation

    def discard(self, activation: Activation) -> None:
        """Remove an activation. A newer activation of the same key stays."""
        if self._all.get(activation.key) is activation:
            self.release(activation)
            del self._all[activation.key]
            self._leaving.discard(activation.key)

    def release(self, activation: Activation) -> None:
        """Mark an activation as leaving. From now on it does not count towards the bounds."""
        if activation.key not in self._leaving and self._all.get(activation.key) is activation:
            self._leaving.add(activation.key)
            del self._queue(activation)[activation.key]
            activation.queue = None
            self.bytes -= activation.counted_bytes
            activation.counted_bytes = 0

    def touch(self, activation: Activation, now: float) -> None:
        """Move an activation to the end of its queue, because it was used."""
        activation.last_used = now
        if activation.queue is not None:
            activation.queue.move_to_end(activation.key)

    def resize(self, activation: Activation) -> bool:
        """Update the size of an activation. Return True if a bound is exceeded."""
        size = activation.state.instance.resident_bytes
        if size != activation.counted_bytes and activation.queue is not None:
            self.bytes += size - activation.counted_bytes
            activation.counted_bytes = size
        return self.bytes > self.bytes_max or len(self._all) - len(self._leaving) > self._count_max

    def _is_full(self) -> bool:
        return self.bytes > self.bytes_max or len(self._all) - len(self._leaving) > self._count_max

    def surplus(self, now: float) -> Activation | None:
        """Return the idle activation to evict if a bound is exceeded, or None.

        Busy activations at the head of a queue move to its end, because they are in use now. Each of them is therefore
        skipped once, and even many busy activations do not hide the idle ones behind them for long.
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
        """Return activations whose idle timeout has passed, at most ``_OVERDUE_MAX``."""
        found: list[Activation] = []
        for timeout, queue in self._queues.items():
            for candidate in queue.values():
                if candidate.last_used + timeout > now or len(found) >= _OVERDUE_MAX:
                    break
                if candidate.idle:
                    found.append(candidate)
        return found
