"""Whether a method holds up the event loop, and with it every other object of the process.

A thread looks at a sign of life that a timer of the loop gives. When none came for ``STALL_S``, what the loop's thread
does now is in its stack: a frame of ``execution`` there has the turn. Nothing is measured per call.
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

from goverse_node import execution
from goverse_node.turn import Turn

STALL_S: Final = 1.0
LOOKS: Final = 4  # in the time that counts as a stall

logger = logging.getLogger("goverse.node.turn")


def watch_for_stalls(stall_s: float = STALL_S) -> Callable[[], None]:
    """Watch the running loop, which belongs to this thread; return what ends that."""
    watch = StallWatch(stall_s)
    watch.start()
    return watch.stop


class StallWatch:
    """Says once for each stall which method it is, while it lasts."""

    def __init__(self, stall_s: float) -> None:
        """Watch nothing yet."""
        self._stall_s = stall_s
        self._period_s = stall_s / LOOKS
        self._alive_at = 0.0
        self._told_of = 0.0
        self._over = threading.Event()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch the running loop, which belongs to this thread."""
        self._live(asyncio.get_running_loop())
        watched = threading.get_ident()
        threading.Thread(target=self._watch, args=(watched,), name="goverse-stalls", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
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
            if silent_s < self._stall_s or alive_at == self._told_of:
                continue
            frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]  # there is no other way
            turn = _turn_in(frame)
            if turn is not None and frame is not None:
                self._told_of = alive_at
                where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                logger.warning(
                    "a method does not let go of the event loop; nothing else runs meanwhile",
                    extra={**turn.place(), "seconds": round(silent_s, 3), "where": where},
                )


def _turn_in(frame: FrameType | None) -> Turn | None:
    """Return the turn whose method a stack carries out."""
    while frame is not None:
        if frame.f_code in _CARRYING_OUT:
            turn = frame.f_locals.get("turn")
            return turn if isinstance(turn, Turn) else None
        frame = frame.f_back
    return None


_CARRYING_OUT: Final = (execution.run.__code__, execution.drive.__code__)
