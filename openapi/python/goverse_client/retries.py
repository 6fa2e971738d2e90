"""The retry policy: the number of attempts and the pauses between them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, within the timeout of the call.

    Each pause is chosen uniformly between 0 and a limit that grows with each attempt. Of the common strategies this one
    needs the fewest calls (M. Brooker, "Exponential Backoff And Jitter", 2015).

    Attributes:
        attempts_max: the largest number of attempts for one request; 1 disables retries. The default is high, so that
            usually the timeout of the call ends the retries, and a call outlasts the failover of a node.
        pause_s: the limit of the first pause; it doubles with each attempt.
        pause_s_max: the largest limit of a pause.
    """

    attempts_max: int = 100
    pause_s: float = 0.05
    pause_s_max: float = 2.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is invalid.
        """
        if self.attempts_max < 1:
            raise ValueError(f"attempts_max must be at least 1, not {self.attempts_max}")
        if not 0 <= self.pause_s <= self.pause_s_max:
            raise ValueError(f"pause_s must be between 0 and pause_s_max ({self.pause_s_max}), not {self.pause_s}")

    def pause(self, attempts: int, retry_after_s: float | None, chance: float) -> float:
        """Return the seconds to wait after ``attempts`` attempts.

        Args:
            attempts: the number of attempts so far, at least 1.
            retry_after_s: the pause that the gate asked for. The jitter is added to it, because the gate may have sent
                the same value to many clients.
            chance: a random number from 0 to 1.
        """
        bound = min(self.pause_s_max, self.pause_s * 2.0 ** min(attempts - 1, 60))
        return (retry_after_s or 0.0) + chance * bound


NEVER = RetryPolicy(attempts_max=1)
"""Send every request once."""
