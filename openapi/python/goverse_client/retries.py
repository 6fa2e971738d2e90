"""When a request is sent again, and after which pause."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, within the time of the call.

    Source: M. Brooker, "Exponential Backoff And Jitter" (2015): of the ways to spread repetitions, a pause chosen
    uniformly between nothing and the growing bound costs the fewest calls.

    Attributes:
        attempts_max: how often one request is sent at most; 1 never repeats. The time of the call ends it before, as a
            rule: it is to outlast the failover of a node.
        pause_s: the bound of the first pause; it doubles with each attempt.
        pause_s_max: what it grows to.
    """

    attempts_max: int = 100
    pause_s: float = 0.05
    pause_s_max: float = 2.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: one makes no sense.
        """
        if self.attempts_max < 1:
            raise ValueError("attempts_max is at least 1: the request itself")
        if not 0 <= self.pause_s <= self.pause_s_max:
            raise ValueError("pause_s lies between 0 and pause_s_max")

    def pause(self, attempts: int, retry_after_s: float | None, chance: float) -> float:
        """Return the seconds to wait after ``attempts`` attempts.

        Args:
            attempts: made so far, from 1.
            retry_after_s: what the gate asked for; the pause is then at least that, and spread beyond it, since many
                clients were asked for the same.
            chance: a random number from 0 to 1.
        """
        bound = min(self.pause_s_max, self.pause_s * 2.0 ** min(attempts - 1, 60))
        return (retry_after_s or 0.0) + chance * bound


NEVER = RetryPolicy(attempts_max=1)
"""Send every request once."""
