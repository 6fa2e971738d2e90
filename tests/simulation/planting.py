"""Planted bugs of the simulation: a rule of the product that is broken on purpose, and what shows it.

``from_list`` takes a bug of ``tests.planted.bugs`` by its name. The others are only in the simulation, because they
show in a cluster and not in a single part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.planted import planted_bugs
from tests.simulation.settings import Settings

Plant = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """A planted bug.

    Attributes:
        plant: the function that breaks the rule.
        settings: the faults that provoke the bug.
        complaint: a part of what the watchers report.
        seed: a seed that finds it.
    """

    plant: Plant
    settings: Settings
    complaint: str
    seed: int = 0


def from_list(name: str) -> Plant:
    """Return the function that plants a bug of ``tests.planted.bugs``."""
    return planted_bugs()[name].plant
