"""Memory pressure: lowers the bound on activations while the process is near its memory limit, and raises it again.

The bound on activations counts an estimate, but the kernel kills a container that exceeds its limit. So the used share
of the limit is measured ten times a second, and the bound follows it:

1. From ``NEAR`` (85 %) on, if use exceeds its mark by more than ``_GROWN`` (0.5 % of the limit), the bound becomes 10 %
   less than objects hold now, and the mark moves to the current use. Constant use does not lower the bound.
2. Otherwise the bound rises, per measurement: by 10 % below ``FAR`` (75 %), where the mark is removed; by 0.1 % up to
   ``NEAR``; by 0.01 % up to ``TIGHT`` (90 %), so that a low bound recovers in time; above it not at all.
3. Rises that add up to 10 % move the mark down by ``_GROWN``, but not below the current use. This mirrors rule 1, so
   use that oscillates around one level cannot lower the bound permanently.
4. Freed memory that the allocator keeps still counts as used. It is returned to the kernel when the bound falls, and
   every 5 s while the bound is lowered and use is above ``FAR``.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from threading import Thread
from typing import Final

from goverse.limits import MIB

NEAR: Final = 0.85
FAR: Final = 0.75
TIGHT: Final = 0.9
TRIM_UPDATES: Final = 50
"""Measurements between two trims while the bound is lowered: 5 s."""
_STEP: Final = 0.1
_SLOW_STEP: Final = 0.001
_SLOWEST_STEP: Final = 0.0001
_GROWN: Final = 0.005
_LEAST_BYTES: Final = MIB
_RISEN_FROM_BYTES: Final = 64 * MIB  # a smaller bound rises by as many bytes as this one; otherwise it would take hours
_NO_MARK: Final = 0.0

logger = logging.getLogger("goverse.node")


class MemoryPressure:
    """The current bound on the bytes of activations. ``update`` is called every tenth of a second.

    Attributes:
        bytes_max: the current bound.
    """

    def __init__(self, bytes_max: int, used: Callable[[], float], give_back: Callable[[], None]) -> None:
        """Start with the configured bound ``bytes_max``.

        ``used`` returns the used share of the process's memory limit. ``give_back`` returns freed memory to the kernel;
        it must not block.
        """
        self.bytes_max = bytes_max
        self._set = bytes_max
        self._used = used
        self._give_back = give_back
        self._mark = _NO_MARK
        self._updates = 0

    def update(self, held_bytes: int) -> int:
        """Measure the used memory and return the new bound; objects hold ``held_bytes`` now."""
        used = self._used()
        if used >= NEAR and used > self._mark + _GROWN:
            self._tighten(held_bytes)
            self._mark = used
            self._trim()
        else:
            self._loosen(used)
        return self.bytes_max

    def _tighten(self, held_bytes: int) -> None:
        if self.bytes_max == self._set:
            logger.warning(
                "memory is near its limit; lowering the bound on activations below the configured one",
                extra={"bytes": held_bytes, "bytes_max": self._set},
            )
        less = int(min(self.bytes_max, held_bytes) * (1 - _STEP))
        self.bytes_max = max(_LEAST_BYTES, min(self._set - 1, less))

    def _loosen(self, used: float) -> None:
        step = _step(used)
        self._mark = max(min(self._mark, used), self._mark - _GROWN * step / _STEP) if used >= FAR else _NO_MARK
        if self.bytes_max == self._set:
            return
        risen = self.bytes_max + ceil(max(self.bytes_max, _RISEN_FROM_BYTES) * step)
        self.bytes_max = min(self._set, risen)
        if self.bytes_max == self._set:
            logger.info("memory pressure is over; restored the configured bound", extra={"bytes_max": self.bytes_max})
        self._updates += 1
        if used >= FAR and self._updates >= TRIM_UPDATES:
            self._trim()

    def _trim(self) -> None:
        self._updates = 0
        self._give_back()


def _step(used: float) -> float:
    """Return the fraction by which the bound rises in one measurement."""
    for below, step in ((FAR, _STEP), (NEAR, _SLOW_STEP), (TIGHT, _SLOWEST_STEP)):
        if used < below:
            return step
    return 0.0


class Trimmer:
    """Returns free memory to the kernel on a thread, because a trim of a large heap would block the event loop."""

    def __init__(self, release: Callable[[], None] | None = None) -> None:
        """Call ``release``, by default ``trim``, on the thread."""
        self._release = release or trim
        self._thread: Thread | None = None

    def __call__(self) -> None:
        """Start a trim, unless one is running or no thread can be started."""
        if self._thread is not None and self._thread.is_alive():
            return
        thread = Thread(target=self._release, name="goverse-trim")
        with suppress(RuntimeError):  # the limit of threads is reached; objects leave anyway, and a later trim may work
            thread.start()
            self._thread = thread


def trim() -> None:
    """Return free memory of the C library to the kernel. Only glibc supports this (``malloc_trim``)."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)
