"""Clocks: monotonic time for durations and deadlines, wall time for timestamps."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", None)

boot_time: Final[Callable[[], float]] = (
    time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
)
"""Return monotonic seconds that also count while the machine is suspended.

Uses ``CLOCK_BOOTTIME`` on Linux. Systems without such a clock fall back to the monotonic clock, which stops during a
suspension. The values are not comparable with ``loop.time()``; only differences are meaningful. Every readonly call
reads this clock once.
"""


class Clock(Protocol):
    """A monotonic clock for durations and deadlines, and a wall clock for timestamps."""

    def monotonic(self) -> float:
        """Return monotonic seconds, comparable with ``loop.time()``."""
        ...

    def wall_ms(self) -> int:
        """Return milliseconds since the Unix epoch; may jump in either direction."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    """The C function itself, without a wrapper: every call with an idempotency key reads the clock twice."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock for tests; it moves only through ``advance`` and ``set_wall_ms``."""

    def __init__(self, *, monotonic: float = 1_000.0, wall_ms: int = 1_700_000_000_000) -> None:
        self._monotonic = monotonic
        self._wall_ms = wall_ms

    def monotonic(self) -> float:
        return self._monotonic

    def wall_ms(self) -> int:
        return self._wall_ms

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._monotonic += seconds
        self._wall_ms += round(seconds * 1000)

    def set_wall_ms(self, wall_ms: int) -> None:
        """Move the wall clock alone, in either direction."""
        self._wall_ms = wall_ms
