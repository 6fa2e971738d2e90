"""Time, as the core sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)

boot_time: Final[Callable[[], float]] = (
    time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
)
"""Return seconds that never go back and that also count while the machine is suspended.

``CLOCK_BOOTTIME`` on Linux. Where the system has no such clock this is the monotonic clock, which stands still during a
suspension. The values cannot be compared with ``loop.time()``; only differences can. Every readonly call reads it once.
"""


class Clock(Protocol):
    """Two clocks: one to measure durations and deadlines, one to tell people the time."""

    def monotonic(self) -> float:
        """Return seconds that never go back; comparable with ``loop.time()``."""
        ...

    def wall_ms(self) -> int:
        """Return milliseconds since the epoch; may jump either way."""
        ...


class SystemClock:
    """The clock of the machine."""

    monotonic = staticmethod(time.monotonic)
    """Return the monotonic clock in seconds; the function itself, since each call with a key asks for it twice."""

    def wall_ms(self) -> int:
        """Return the wall clock in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, *, monotonic: float = 1_000.0, wall_ms: int = 1_700_000_000_000) -> None:
        """Start at the given times."""
        self._monotonic = monotonic
        self._wall_ms = wall_ms

    def monotonic(self) -> float:
        """Return the present monotonic time in seconds."""
        return self._monotonic

    def wall_ms(self) -> int:
        """Return the present wall time in milliseconds since the epoch."""
        return self._wall_ms

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._monotonic += seconds
        self._wall_ms += round(seconds * 1000)

    def set_wall_ms(self, wall_ms: int) -> None:
        """Let the wall clock jump."""
        self._wall_ms = wall_ms
