"""The times for which ends of reliable calls are kept: a limit of the operator for each state but success.

The end of a call is committed with the time until which it is kept. A shorter limit, set later, applies to it as well:
each store compares both when it reads and when it removes. A longer limit applies to later ends only, because earlier
ones may have been removed. The result of a success is kept for as long as its sender asked (``SentCall.keep_ms``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from goverse import limits
from goverse.model.effects import CallState


@dataclass(frozen=True, slots=True)
class CallRetention:
    """The times for which ends of calls are kept, in seconds; 0 keeps none."""

    failed_s: float = limits.FAILED_CALLS_RETENTION_S
    expired_s: float = limits.EXPIRED_CALLS_RETENTION_S
    cancelled_s: float = limits.CANCELLED_CALLS_RETENTION_S
    dead_s: float = limits.DEAD_LETTERS_RETENTION_S

    def by_state(self) -> Mapping[CallState, int]:
        """Return the times in milliseconds. A success has none."""
        seconds: dict[CallState, float] = {
            "failed": self.failed_s,
            "expired": self.expired_s,
            "cancelled": self.cancelled_s,
            "dead": self.dead_s,
        }
        return {state: round(each * 1000) for state, each in seconds.items()}


NO_LIMITS: Final[Mapping[CallState, int]] = {}
"""The limits of a store that keeps each end for the time with which it was committed."""


def limits_of(retention: CallRetention | None) -> Mapping[CallState, int]:
    """Return the limits by state, none without ``retention``."""
    return NO_LIMITS if retention is None else retention.by_state()
