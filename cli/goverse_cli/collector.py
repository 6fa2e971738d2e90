"""Tuning of the cyclic garbage collector for a server process: run rarely, and skip permanent objects.

A server keeps many objects alive for a long time, and a call leaves no reference cycles behind (a test checks this). So
a collection finds almost nothing, yet its cost grows with the number of live objects: with Python's defaults and 50 000
activations that come and go, it took half of the CPU time. Cycles in the application's code are still collected, a
little later.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG_MAX: Final = 10_000
"""Net allocations before a collection of the youngest generation; Python's default is 700."""


def calm_collector() -> None:
    """Exclude everything that exists now (modules, classes, the application) and collect rarely from then on."""
    gc.freeze()
    gc.set_threshold(YOUNG_MAX)
