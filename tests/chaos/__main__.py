"""``python -m tests.chaos``: inject faults into a cluster of real processes under load, and report the effects."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.chaos.scenario import Result, Scenario, perform, shape_of
from tests.chaos.scenarios import SCENARIOS
from tests.cluster_processes import LEASE_TTL_S, cluster

OVERHEAD_S = 300.0
PROBLEMS_SHOWN = 20

TEACHING = """\
Each scenario starts its own cluster on loopback: etcd, PostgreSQL, nodes and two gates. Callers append to objects and
read them through both gates while processes are killed, frozen, disconnected and restarted. One line per scenario shows
the effect on the callers:

  PASS kill-node  21.4 s  4021 calls, 0 failed, 0 lost, 0 doubled; p50 5 ms, p99 61 ms, longest pause 3.41 s; ...

A scenario fails if a call fails, an acknowledged effect is lost or doubled, the responses are not linearizable (checked
for each object), or shards are served too late after a node died. Then the exit code is 1, the reasons are printed
below the line, and the logs of the processes are kept.

examples:
  make chaos                                                   run every scenario
  make chaos CHAOS_ARGS="rolling-restart --seconds 20"         run one scenario for twenty seconds
  make chaos CHAOS_ARGS="kill-node kill-leader --seed 7"       run two scenarios with a given seed
  make chaos CHAOS_ARGS=--list                                 list the scenarios
"""


def main() -> int:
    """Run the chosen scenarios. Returns 1 if a scenario fails."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        epilog=TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="*", help="scenarios to run (default: all)")
    parser.add_argument("--list", action="store_true", help="list the scenarios and exit")
    parser.add_argument(
        "--seconds", type=float, help="duration of each scenario; each disturbance happens at least once"
    )
    parser.add_argument(
        "--seed", type=int, help="seed of the random decisions (default: a random one, which is printed)"
    )
    parser.add_argument(
        "--lease-ttl",
        type=float,
        default=LEASE_TTL_S,
        help="cluster.lease_ttl_s of the clusters (default: %(default)s)",
    )
    options = parser.parse_args()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:<22} {scenario.seconds:3g} s  {scenario.says}")
        return 0
    unknown = [name for name in options.scenario if name not in known]
    if unknown:
        parser.error(f"unknown scenario: {', '.join(unknown)}; --list shows all scenarios")
    logging.getLogger("goverse").addHandler(logging.NullHandler())  # hides the log of the observer's etcd client
    for number in (signal.SIGINT, signal.SIGTERM):  # explicitly, because a shell may have set them to be ignored
        signal.signal(number, signal.default_int_handler)
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    print(f"seed {seed}, leases of {options.lease_ttl:g} s", flush=True)
    wanted = [known[name] for name in options.scenario] or SCENARIOS
    passed = [carry_out(scenario, seed, options.seconds, options.lease_ttl) for scenario in wanted]
    print(f"{sum(passed)} of {len(passed)} scenarios passed", flush=True)
    return 0 if all(passed) else 1


def carry_out(scenario: Scenario, seed: int, seconds: float | None, lease_ttl_s: float) -> bool:
    """Run one scenario on its own cluster and print the result. Returns True if it passed."""
    folder = Path(tempfile.mkdtemp(prefix=f"goverse-chaos-{scenario.name}-"))
    try:
        result = asyncio.run(_within_bounds(scenario, folder, seed, seconds, lease_ttl_s))
    except Exception:
        print(
            f"FAIL {scenario.name}: the scenario did not complete; logs are in {folder}\n{traceback.format_exc()}",
            flush=True,
        )
        return False
    print(result.line(), flush=True)
    for problem in result.problems[:PROBLEMS_SHOWN]:
        print(f"     {problem}")
    if not result.problems:
        shutil.rmtree(folder)
        return True
    more = len(result.problems) - PROBLEMS_SHOWN
    print(f"     {f'and {more} more; ' if more > 0 else ''}logs are in {folder}", flush=True)
    return False


async def _within_bounds(
    scenario: Scenario, folder: Path, seed: int, seconds: float | None, lease_ttl_s: float
) -> Result:
    async with asyncio.timeout(OVERHEAD_S + (scenario.seconds if seconds is None else seconds)):
        async with cluster(folder, shape_of(scenario, lease_ttl_s)) as processes:
            return await perform(scenario, processes, seed=seed, seconds=seconds)


if __name__ == "__main__":
    sys.exit(main())
