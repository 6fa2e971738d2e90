"""Whole clusters of product code in virtual time: under all faults no call is lost, doubled or stale.

A failing seed is printed with the command that replays it.
"""

import os
import subprocess
import sys

import pytest

from tests.simulation.cluster import RECOVERY_S, SimulatedCluster
from tests.simulation.faults import PLANNED
from tests.simulation.settings import Settings
from tests.tree import ROOT

SEEDS = 160
PLANNED_SEEDS = 40
SYSTEM_SEEDS = 2_000
AT_ONCE = 20

REPLAYED = (3, 11)
PRINT_DIGESTS = """
import sys
from tests.simulation.cluster import SimulatedCluster
for seed in sys.argv[1:]:
    cluster = SimulatedCluster(int(seed))
    cluster.run()
    print(cluster.world.digest(), cluster.world.events)
"""


def check(seed: int, settings: Settings) -> SimulatedCluster:
    """Run one seed and check that the watchers found no violation."""
    cluster = SimulatedCluster(seed, settings)
    found = cluster.run().found
    only = f" --faults {','.join(settings.faults)}" if settings.faults else ""
    assert not found, f"{found}\nreplay: python -m tests.simulation --seed {seed}{only} --trace"
    assert cluster.recovered_s is not None
    assert cluster.recovered_s <= RECOVERY_S
    return cluster


@pytest.mark.requirement("CLU-12", "QUA-8", "CLU-1", "CLU-2", "CLU-3", "CLU-5", "CLU-9")
@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_no_call_is_lost_doubled_or_stale_and_every_shard_recovers_in_time(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        check(seed, Settings())


@pytest.mark.requirement("CLU-12", "QUA-8", "CLU-3", "CLU-4", "CLU-6", "CLU-11")
@pytest.mark.parametrize("first", range(0, PLANNED_SEEDS, AT_ONCE))
def test_no_call_fails_while_nodes_join_leave_restart_and_are_drained(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        assert check(seed, Settings(faults=PLANNED)).watchers.failures == 0


@pytest.mark.system
@pytest.mark.requirement("CLU-12", "QUA-8", "CLU-1", "CLU-2", "CLU-3", "CLU-5", "CLU-9")
@pytest.mark.parametrize("first", range(SEEDS, SYSTEM_SEEDS, 5 * AT_ONCE))
def test_no_call_is_lost_doubled_or_stale_in_many_more_runs(first: int) -> None:
    for seed in range(first, min(first + 5 * AT_ONCE, SYSTEM_SEEDS)):
        check(seed, Settings(faults=PLANNED) if seed % 5 == 0 else Settings())


@pytest.mark.requirement("CLU-12", "QUA-8")
def test_a_seed_is_one_history() -> None:
    runs = [SimulatedCluster(seed) for seed in (*REPLAYED, *REPLAYED)]
    for run in runs:
        run.run()
    digests = [run.world.digest() for run in runs]

    assert digests[: len(REPLAYED)] == digests[len(REPLAYED) :]
    assert len(set(digests)) == len(REPLAYED)


@pytest.mark.system
@pytest.mark.requirement("CLU-12", "QUA-8")
def test_a_seed_is_one_history_in_every_process() -> None:
    histories = [_digests(hash_seed) for hash_seed in ("1", "2")]

    assert histories[0] == histories[1]
    assert len(set(histories[0])) == len(REPLAYED)


def _digests(hash_seed: str) -> list[str]:
    command = [sys.executable, "-c", PRINT_DIGESTS, *map(str, REPLAYED)]
    path = os.pathsep.join(str(ROOT / folder) for folder in ("shared", "node", "gate", "cli", "."))
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.splitlines()
