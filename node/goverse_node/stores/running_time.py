"""Running time: the clock by which the embedded stores expire kept replies.

A wall clock can be wrong by years, for example on a board without a battery, and is then corrected in one step. Such a
step must not expire a reply that is only seconds old, because a retry would run its call a second time. The retention
of a reply is therefore measured in running time, which advances with the monotonic clock while the process runs.

Running time starts at the wall clock's value when a store is created, so that the numbers are readable. From then on,
each step of the wall clock makes the two differ.
"""

from __future__ import annotations

from typing import Final

from goverse.ports.clock import Clock

DOWNTIME_MS_MAX: Final = 3_600_000
"""The part of the time between two runs that counts as running time, at most.

Only the wall clock measures the time between two runs. The limit is low, so that a step of the wall clock cannot expire
replies. It is not zero, because then a program that runs for a minute a day would keep its replies for years.
"""


class RunningTime:
    """A millisecond clock that advances with the monotonic clock."""

    def __init__(self, clock: Clock, start_ms: int) -> None:
        """Start the clock at ``start_ms``."""
        self._monotonic = clock.monotonic
        self._ahead_ms = start_ms - int(self._monotonic() * 1000)

    def now_ms(self) -> int:
        """Return the running time in milliseconds."""
        return self._ahead_ms + int(self._monotonic() * 1000)


def resumed_ms(latest_ms: int, latest_wall_ms: int, wall_ms: int) -> int:
    """Return the running time at which a recovered store starts.

    Args:
        latest_ms: the running time of its latest kept reply.
        latest_wall_ms: the wall-clock time of that reply.
        wall_ms: the wall-clock time now.
    """
    return latest_ms + min(max(0, wall_ms - latest_wall_ms), DOWNTIME_MS_MAX)
