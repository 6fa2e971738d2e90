"""How much memory objects may take when the process comes near its limit: less and less, until it is far from it again.

The bound on activations counts an estimate; the kernel ends a container that takes more than its limit. So what is used
is measured, and the bound follows:

1. Near the limit (``NEAR``), when use passes its mark by more than noise (``_GROWN``), objects get a tenth less than
   they have, and the mark moves there. Use that stands still lowers nothing, whatever objects leave on their own.
2. The bound rises: a tenth each time far from the limit (``FAR``), where there is no mark; slowly between; near, very
   slowly, so that a low bound does not outlive its reason; above ``TIGHT`` not at all.
3. A rise by a tenth takes the mark down by ``_GROWN``, which is what a fall by a tenth had moved it up, not below what
   is used: so use that swings about one level cannot take the bound down for good.
4. Freed memory that the allocator keeps counts as used. It goes back to the kernel when the bound falls, and every few
   seconds while it is lowered and use is high.
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
"""Looks from one time that memory is given back to the next, while the bound is lowered: 5 s."""
_STEP: Final = 0.1
_SLOW_STEP: Final = 0.001
_SLOWEST_STEP: Final = 0.0001
_GROWN: Final = 0.005
_LEAST_BYTES: Final = MIB
_RISEN_FROM_BYTES: Final = 64 * MIB  # a bound below it rises as fast as this one, or it would take hours
_NO_MARK: Final = 0.0

logger = logging.getLogger("goverse.node")


class MemoryPressure:
    """The bound of the moment; one look every tenth of a second."""

    def __init__(self, bytes_max: int, used: Callable[[], float], give_back: Callable[[], None]) -> None:
        """Stay below ``bytes_max``, and below what ``used``, the used share of the limit, leaves.

        ``give_back`` returns freed memory to the kernel, as far as that goes, and does not take long.
        """
        self.bytes_max = bytes_max
        self._set = bytes_max
        self._used = used
        self._give_back = give_back
        self._mark = _NO_MARK
        self._updates = 0

    def update(self, held_bytes: int) -> int:
        """Measure, and return the bound for objects that hold ``held_bytes`` now."""
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
                "memory comes near its limit: objects leave it before the bound that is set",
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
            logger.info("objects may take what is set again", extra={"bytes_max": self.bytes_max})
        self._updates += 1
        if used >= FAR and self._updates >= TRIM_UPDATES:
            self._trim()

    def _trim(self) -> None:
        self._updates = 0
        self._give_back()


def _step(used: float) -> float:
    """Return by which part the bound rises in one look."""
    for below, step in ((FAR, _STEP), (NEAR, _SLOW_STEP), (TIGHT, _SLOWEST_STEP)):
        if used < below:
            return step
    return 0.0


class Trimmer:
    """Has the C library give free memory back, on a thread: with a large heap it takes longer than a loop may stand."""

    def __init__(self, release: Callable[[], None] | None = None) -> None:
        """Call ``release``, which is ``trim`` by default."""
        self._release = release or trim
        self._thread: Thread | None = None

    def __call__(self) -> None:
        """Begin, unless it is under way still, or there is no thread to be had."""
        if self._thread is not None and self._thread.is_alive():
            return
        thread = Thread(target=self._release, name="goverse-trim")
        with suppress(RuntimeError):  # at the bound of threads; objects leave nevertheless, and the next time may do
            thread.start()
            self._thread = thread


def trim() -> None:
    """Have the C library give free memory back, where it is one that can (glibc)."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)
