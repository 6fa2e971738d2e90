"""Replay one run: `python -m tests.simulation SEED [--faults crash,pause] [--bug UNFENCED] [--trace]`."""

import argparse
import sys

from tests.simulation.cluster import SimulatedCluster
from tests.simulation.settings import Bug, Settings


def main() -> int:
    """Run a seed and print what the watchers found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--faults", default="", help="the faults to allow, separated by commas; all by default")
    parser.add_argument("--bug", choices=[bug.name for bug in Bug], action="append", default=[])
    parser.add_argument("--trace", action="store_true", help="print all events of the run")
    options = parser.parse_args()
    faults = tuple(name for name in options.faults.split(",") if name)
    cluster = SimulatedCluster(options.seed, Settings(faults=faults, bugs=frozenset(Bug[name] for name in options.bug)))
    found = cluster.run().found
    if options.trace:
        sys.stdout.write("\n".join(cluster.world.trace) + "\n")
    sys.stdout.write("\n".join(found) + "\n" if found else "no violations found\n")
    sys.stdout.write(f"commits {cluster.watchers.commits}, fenced {cluster.watchers.fences}, ")
    sys.stdout.write(f"recovered after {cluster.recovered_s} s\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
