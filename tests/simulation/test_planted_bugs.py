"""Planted bugs: a watcher notices each rule that is broken on purpose, so the simulation can fail.

A bug shows in some runs only. Each case has the faults that provoke its bug. The seed that shows the bug is run once
more without it, and must be free of violations.
"""

from dataclasses import replace

import pytest

from tests.simulation.cluster import SimulatedCluster
from tests.simulation.faults import PLANNED
from tests.simulation.settings import Bug, Settings

SEEDS_MAX = 150

SPLITS = Settings(faults=("split_for_long",), faults_s=40.0, fault_every_s=20.0, reads=0.9, think_s=0.15, clients=8)
LAGS = Settings(faults=("lag_watch", "drain"), faults_s=30.0, fault_every_s=0.5, reads=0.7, think_s=0.15, clients=8)
CASES = {
    Bug.UNFENCED: (Settings(faults=("split", "pause", "cut_from_etcd"), think_s=0.2), "the newest one is"),
    Bug.UNCHECKED_REPLIES: (SPLITS, "does not see what"),
    Bug.EARLY_RELEASE: (Settings(faults=PLANNED), "before a turn of it was durable"),
    Bug.UNGUARDED_CLAIMS: (LAGS, "does not see what"),
    Bug.HASTY_HISTORY: (replace(SPLITS, faults=("empty_etcd_behind_a_split",)), "does not see what"),
    Bug.UNKEYED_RETRY: (Settings(), "took effect twice"),
}


@pytest.mark.requirement("CLU-12")
@pytest.mark.parametrize("bug", Bug)
def test_a_planted_bug_is_noticed_and_a_correct_run_has_no_violation(bug: Bug) -> None:
    settings, complaint = CASES[bug]
    planted = replace(settings, bugs=frozenset({bug}))
    for seed in range(SEEDS_MAX):
        found = SimulatedCluster(seed, planted).run().found
        if found:
            assert any(complaint in line for line in found)
            assert SimulatedCluster(seed, settings).run().found == []
            return
    raise AssertionError(f"{SEEDS_MAX} runs do not notice {bug.name}")
