"""The cyclic garbage collector of a server process: seldom, and not over what never goes away.

A server holds many objects for long, and a call leaves no rings behind (a test says so), so a collection finds next
to nothing and costs time in proportion to everything that lives: with Python's defaults and 50 000 activations that
come and go it took half of all CPU time. Rings in users' code are still found, a little later.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG_MAX: Final = 10_000
"""Objects that may be made and not freed before the collector looks at them; Python's default is 700."""


def calm_collector() -> None:
    """Leave out what exists now, which is modules, classes and the application, and look seldom."""
    gc.freeze()
    gc.set_threshold(YOUNG_MAX)
