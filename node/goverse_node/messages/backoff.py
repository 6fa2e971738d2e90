"""Waiting times between the attempts of a reliable call: exponential, bounded, with full jitter.

Full jitter means that each wait is drawn evenly from 0 to the bound of the attempt. It spreads the repetitions of many
senders that failed at the same moment best (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

from goverse.ports.entropy import Entropy

_DOUBLINGS_MAX = 62  # 2**62 times any first wait is beyond every longest wait; keeps the float finite
_DRAWN_BYTES = 7  # as many bits as a float between 0 and 1 has
_SHARES = 1 << 8 * _DRAWN_BYTES


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

    def wait_ms(self, attempts: int, entropy: Entropy) -> int:
        """Return the wait after ``attempts`` failed attempts, drawn from ``entropy``."""
        share = int.from_bytes(entropy(_DRAWN_BYTES)) / _SHARES
        return round(self.bound_ms(attempts) * share)
