"""Replay a run: ``python -m tests.simulation --seed 7 [--faults crash,pause | --bug NAME] [--trace]``."""

import argparse
import sys

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.cluster import SimulatedCluster
from tests.simulation.settings import Settings
from tests.simulation.stories import STORIES, trace


def main() -> int:
    """Run a seed and print what the watchers found, or print the trace of a story."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int)
    what.add_argument("--story", choices=STORIES, help="print the trace of a scripted event")
    parser.add_argument("--faults", default="", help="the faults to allow, separated by commas; all by default")
    parser.add_argument("--bug", choices=BUGS, help="plant a bug, with the faults that provoke it")
    parser.add_argument("--trace", action="store_true", help="print all events of the run")
    options = parser.parse_args()
    if options.story is not None:
        sys.stdout.write(trace(options.story))
        return 0
    faults = tuple(name for name in options.faults.split(",") if name)
    settings = Settings(faults=faults) if options.bug is None else BUGS[options.bug].settings
    cluster = SimulatedCluster(options.seed, settings, traced=options.trace)
    with pytest.MonkeyPatch.context() as monkeypatch:
        if options.bug is not None:
            BUGS[options.bug].plant(monkeypatch)
        found = cluster.run().found
    report(cluster, found)
    return 1 if found else 0


def report(cluster: SimulatedCluster, found: list[str]) -> None:
    """Print the trace if there is one, the violations, and some figures."""
    watchers = cluster.watchers
    lines = [
        *cluster.world.trace,
        *(found or ["no violations found"]),
        f"{cluster.world.events} events, digest {cluster.world.digest()}",
        f"commits {watchers.commits}, fenced {watchers.fences}, failed attempts {watchers.failures}",
        f"all shards served {cluster.recovered_s} s after the last fault",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
