"""Waiting times between the attempts of a reliable call: exponential, bounded, with full jitter.

Full jitter means that each wait is drawn evenly from 0 to the bound of the attempt. It spreads the repetitions of many
senders that failed at the same moment best (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import random

_DOUBLINGS_MAX = 62  # 2**62 times any first wait is beyond every longest wait; keeps the float finite


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waiting times of one call, in milliseconds.

    Attributes:
        first_ms: bound of the wait after the first attempt.
        longest_ms: bound of all waits.
    """

    first_ms: int = 200
    longest_ms: int = 300_000

    def bound_ms(self, attempts: int) -> int:
        """Return the longest wait after ``attempts`` failed attempts (at least 1)."""
        return min(self.longest_ms, self.first_ms << min(attempts - 1, _DOUBLINGS_MAX))

    def wait_ms(self, attempts: int, draw: Callable[[], float] = random) -> int:
        """Return the wait after ``attempts`` failed attempts. ``draw`` returns a number from 0 to 1."""
        return round(self.bound_ms(attempts) * draw())
