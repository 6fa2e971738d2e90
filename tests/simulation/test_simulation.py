"""Whole clusters in virtual time: under all faults no call is lost, doubled or stale, and every shard recovers.

A failing seed is printed with the command that replays it.
"""

import pytest

from tests.simulation.cluster import RECOVERY_S, SimulatedCluster
from tests.simulation.faults import PLANNED
from tests.simulation.settings import Settings

SEEDS = 120
PLANNED_SEEDS = 40
AT_ONCE = 20


def check(seed: int, settings: Settings) -> SimulatedCluster:
    """Run one seed and check that the watchers found no violation."""
    cluster = SimulatedCluster(seed, settings)
    found = cluster.run().found
    only = f" --faults {','.join(settings.faults)}" if settings.faults else ""
    assert not found, f"{found}\nreplay: python -m tests.simulation {seed}{only} --trace"
    return cluster


@pytest.mark.requirement("CLU-12", "CLU-1", "CLU-2", "CLU-3", "CLU-5", "CLU-9")
@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_call_is_lost_doubled_or_stale_and_every_shard_recovers_in_time(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        recovered_s = check(seed, Settings()).recovered_s
        assert recovered_s is not None
        assert recovered_s <= RECOVERY_S


@pytest.mark.requirement("CLU-12", "CLU-3", "CLU-4", "CLU-6", "CLU-11")
@pytest.mark.parametrize("first", range(0, PLANNED_SEEDS, AT_ONCE))
def test_no_call_fails_while_nodes_join_leave_restart_and_are_drained(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        assert check(seed, Settings(faults=PLANNED)).watchers.failures == 0


@pytest.mark.requirement("CLU-12")
def test_a_seed_is_one_history() -> None:
    runs = [SimulatedCluster(7, Settings()) for _ in range(2)]
    for run in runs:
        run.run()

    assert runs[0].world.trace == runs[1].world.trace
    assert runs[0].watchers.history == runs[1].watchers.history
