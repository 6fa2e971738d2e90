"""Detection of methods that block the event loop, and with it every other object of the process.

A timer of the loop records a heartbeat, and a thread checks it. If there was no heartbeat for ``STALL_S``, the thread
inspects the stack of the loop's thread: a frame of ``Turn`` there belongs to the blocking turn. Calls themselves
are not measured, so they cost nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Final

from goverse_node.runtime.turn import Turn

STALL_S: Final = 1.0
CHECKS_PER_STALL: Final = 4

logger = logging.getLogger("goverse.node.turn")


def watch_for_stalls(stall_s: float = STALL_S) -> Callable[[], None]:
    """Watch the running loop of the current thread. Returns a function that stops the watch."""
    watch = StallWatch(stall_s)
    watch.start()
    return watch.stop


class StallWatch:
    """Logs the method that blocks the event loop, once per stall, while the stall lasts."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._period_s = stall_s / CHECKS_PER_STALL
        self._alive_at = 0.0
        self._logged_for = 0.0
        self._over = threading.Event()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch the running loop of the current thread."""
        self._live(asyncio.get_running_loop())
        watched = threading.get_ident()
        threading.Thread(target=self._watch, args=(watched,), name="goverse-stalls", daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        if self._timer is not None:
            self._timer.cancel()

    def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alive_at = monotonic()
        self._timer = loop.call_later(self._period_s, self._live, loop)

    def _watch(self, thread: int) -> None:
        while not self._over.wait(self._period_s):
            alive_at = self._alive_at
            silent_s = monotonic() - alive_at
            if silent_s < self._stall_s or alive_at == self._logged_for:
                continue
            frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]  # no public alternative
            turn = _turn_in(frame)
            if turn is not None and frame is not None:
                self._logged_for = alive_at
                where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                logger.warning(
                    "a method is blocking the event loop; no other call can run",
                    extra={**turn.log_fields(), "seconds": round(silent_s, 3), "where": where},
                )


def _turn_in(frame: FrameType | None) -> Turn | None:
    """Return the turn whose method runs in a stack, or None."""
    while frame is not None:
        if frame.f_code in _RUNS_METHODS:
            turn = frame.f_locals.get("self")
            return turn if isinstance(turn, Turn) else None
        frame = frame.f_back
    return None


_RUNS_METHODS: Final = (Turn.run.__code__, Turn.drive.__code__)
