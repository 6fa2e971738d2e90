"""Actions at given times, with one timer of the event loop for all of them.

Times are milliseconds of running time: it begins at the wall clock's value and advances with the monotonic clock. A
step of the wall clock therefore neither makes all waits end at once nor makes one last for years.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

from goverse.ports.clock import Clock

_SOON_S: Final = 0.001  # rounding of milliseconds must not make the timer ring early, and then again


class Alarm:
    """A queue of actions by time. An action that is no longer wanted has to notice that itself."""

    def __init__(self, clock: Clock) -> None:
        """Create an empty queue on the monotonic clock of ``clock``."""
        self._clock = clock
        self._ahead_ms = clock.wall_ms() - int(clock.monotonic() * 1000)
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._timer: asyncio.TimerHandle | None = None
        self._rings_ms = 0
        self._stopped = False

    def now_ms(self) -> int:
        """Return the running time."""
        return self._ahead_ms + int(self._clock.monotonic() * 1000)

    def running_ms(self, wall_ms: int) -> int:
        """Return the running time that is as far from now as ``wall_ms`` is on the wall clock."""
        return self.now_ms() + wall_ms - self._clock.wall_ms()

    def set(self, at_ms: int, action: Callable[[], None]) -> None:
        """Call ``action`` at ``at_ms``, or in the next iteration of the event loop if that has passed."""
        if self._stopped:
            return
        heapq.heappush(self._actions, (at_ms, next(self._order), action))
        if self._timer is None or at_ms < self._rings_ms:
            self._set_timer()

    def stop(self) -> None:
        """Forget all actions, and accept no further ones."""
        self._stopped = True
        self._actions.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_ms = self._actions[0][0]
        wait_s = max(0, self._rings_ms - self.now_ms()) / 1000
        self._timer = asyncio.get_running_loop().call_later(wait_s + _SOON_S if wait_s else 0, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_ms, actions = self.now_ms(), self._actions
        while actions and actions[0][0] <= now_ms:
            heapq.heappop(actions)[2]()
        if actions and self._timer is None:
            self._set_timer()
