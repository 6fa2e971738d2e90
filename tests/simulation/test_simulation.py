"""Whole clusters in virtual time: nothing is lost, doubled or stale under any fault, and planted bugs are noticed.

A failing seed is printed with the command that replays it.
"""

import pytest

from tests.simulation.cluster import SimulatedCluster
from tests.simulation.settings import Bug, Settings

SEEDS = range(1, 101)


@pytest.mark.requirement("CLU-12", "CLU-2", "CLU-9")
@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, 20))
def test_no_seed_finds_anything(first: int) -> None:
    for seed in range(first, first + 20):
        found = SimulatedCluster(seed, Settings()).run().found
        assert not found, f"{found}\nreplay: python -m tests.simulation {seed} --trace"


@pytest.mark.requirement("CLU-12")
@pytest.mark.parametrize(("bug", "seed"), [(Bug.UNFENCED, 11), (Bug.UNKEYED_RETRY, 3)])
def test_a_planted_bug_is_noticed(bug: Bug, seed: int) -> None:
    assert SimulatedCluster(seed, Settings(bugs=frozenset({bug}))).run().found


@pytest.mark.requirement("CLU-12")
def test_a_seed_is_one_history() -> None:
    runs = [SimulatedCluster(7, Settings()) for _ in range(2)]
    for run in runs:
        run.run()
    assert runs[0].world.trace == runs[1].world.trace
