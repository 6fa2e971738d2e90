"""Planted bugs: a watcher notices each rule of the product that is broken on purpose, so the simulation can fail.

A bug shows in some runs only. Each case has the faults that provoke its bug, and a seed that is known to show it; if
the product has changed since, the first ``SEEDS_MAX`` seeds are searched. The seed that shows the bug is run once more
without it, and must be free of violations.
"""

from collections.abc import Iterator
from itertools import chain

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.cluster import SimulatedCluster
from tests.simulation.planting import Bug

SEEDS_MAX = 200


def found_by(seed: int, bug: Bug) -> list[str]:
    """Return the violations of a run with the bug."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        bug.plant(monkeypatch)
        return SimulatedCluster(seed, bug.settings).run().found


def seeds(known: int) -> Iterator[int]:
    return chain((known,), (seed for seed in range(SEEDS_MAX) if seed != known))


@pytest.mark.requirement("CLU-12", "QUA-8")
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_noticed_and_the_same_run_without_it_has_no_violation(name: str) -> None:
    bug = BUGS[name]
    for seed in seeds(bug.seed):
        if any(bug.complaint in line for line in found_by(seed, bug)):
            assert SimulatedCluster(seed, bug.settings).run().found == []
            return
    raise AssertionError(f"{SEEDS_MAX} runs do not notice {name}")
