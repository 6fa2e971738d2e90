"""Pauses between connection attempts: no pause after a stable connection, then exponential backoff with jitter.

Jitter keeps a hundred gates that lost the same node from reconnecting in the same instant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

HELD_S: Final = 1.0
"""A connection that lasts less than this counts as one more failed attempt."""


class Backoff:
    """The pause before the next attempt."""

    __slots__ = ("_failures", "_first_s", "_max_s", "_random")

    def __init__(self, first_s: float, max_s: float, random: Callable[[], float]) -> None:
        """Use ``random`` for jitter; it returns numbers in [0, 1)."""
        self._first_s = first_s
        self._max_s = max_s
        self._random = random
        self._failures = 0

    def ended(self, held_s: float) -> None:
        """Record that a connection ended after ``held_s`` seconds."""
        if held_s >= HELD_S:
            self._failures = 0

    def next_s(self) -> float:
        """Return the pause before the next attempt. That attempt counts as failed until ``ended`` says otherwise."""
        failures, self._failures = self._failures, min(self._failures + 1, 32)
        if failures == 0:
            return 0.0
        longest: float = min(self._max_s, self._first_s * 2 ** (failures - 1))
        return longest * (0.5 + 0.5 * self._random())
