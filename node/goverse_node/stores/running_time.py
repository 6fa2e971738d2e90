"""The time by which the embedded stores expire kept replies: the time that the process runs.

A wall clock may be wrong by years (a board without a battery) and is corrected in one step. A reply that is seconds old
must not be forgotten by that, or its call is carried out twice. So a reply is kept for a stretch of running time, which
the monotonic clock measures. The milliseconds begin at the wall clock's value when a store is made, for people who read
them, and part from it with each step.
"""

from __future__ import annotations

from typing import Final

from goverse.ports.clock import Clock

DOWNTIME_MS_MAX: Final = 3_600_000
"""How much of the time between two runs counts. Nothing but the wall clock measures it, and no step of it may count as
the retention of a reply; without it, replies of a program that runs for a minute a day would stay for years."""


class RunningTime:
    """Milliseconds that go on with the running time of a store."""

    def __init__(self, clock: Clock, start_ms: int) -> None:
        """Begin at ``start_ms``."""
        self._monotonic = clock.monotonic
        self._ahead_ms = start_ms - int(self._monotonic() * 1000)

    def now_ms(self) -> int:
        """Return the present milliseconds."""
        return self._ahead_ms + int(self._monotonic() * 1000)


def resumed_ms(latest_ms: int, latest_wall_ms: int, wall_ms: int) -> int:
    """Return where a store goes on that kept its latest reply at ``latest_ms`` and, by the wall clock, at the other."""
    return latest_ms + min(max(0, wall_ms - latest_wall_ms), DOWNTIME_MS_MAX)
