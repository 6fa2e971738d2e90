"""How much memory objects may take when the process comes near its limit: less and less, until it is far from it again.

The bound on activations counts an estimate; the kernel counts what is there, and ends a container that takes more than
its limit. So what is used is measured, and the bound follows:

* *near the limit* (``NEAR``): objects get no more than they have, and while use still grows, a tenth less each time;
* *far from it* (``FAR``): the bound comes back, a tenth each time, up to the one that was set;
* *between*: it stays. Freed memory does not all go back to the kernel, but is used again: that use does not fall at
  once is no reason to throw out more.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Final

from goverse.limits import MIB

NEAR: Final = 0.85
FAR: Final = 0.75
_STEP: Final = 0.1
_GROWN: Final = 0.002
_LEAST_BYTES: Final = MIB

logger = logging.getLogger("goverse.node")


class Relief:
    """The bound of the moment."""

    def __init__(self, bytes_max: int, used: Callable[[], float], give_back: Callable[[], None]) -> None:
        """Stay below ``bytes_max``, and below what ``used``, the used share of the limit, leaves.

        ``give_back`` returns freed memory to the kernel, as far as that goes.
        """
        self.bytes_max = bytes_max
        self._set = bytes_max
        self._used = used
        self._give_back = give_back
        self._before = 0.0

    def look(self, held_bytes: int) -> int:
        """Measure, and return the bound for objects that hold ``held_bytes`` now."""
        used = self._used()
        if used >= NEAR:
            self._tighten(held_bytes, grows=used > self._before + _GROWN)
        elif used < FAR and self.bytes_max < self._set:
            self.bytes_max = min(self._set, int(self.bytes_max * (1 + _STEP)) + 1)
            if self.bytes_max == self._set:
                logger.info("memory is far from its limit again", extra={"bytes_max": self.bytes_max})
        self._before = used
        return self.bytes_max

    def _tighten(self, held_bytes: int, *, grows: bool) -> None:
        if self.bytes_max == self._set:
            logger.warning(
                "memory comes near its limit: objects leave it before the bound that is set",
                extra={"bytes": held_bytes, "bytes_max": self._set},
            )
        held = min(self.bytes_max, held_bytes)
        if grows:
            held = int(held * (1 - _STEP))
            self._give_back()
        self.bytes_max = max(_LEAST_BYTES, min(self._set - 1, held))


def trim() -> None:
    """Have the C library give free memory back, where it is one that can (glibc)."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)
