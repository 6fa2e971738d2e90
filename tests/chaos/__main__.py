"""``python -m tests.chaos``: break a cluster of real processes under load in every way we know, and tell what its
callers noticed."""

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
Each scenario starts a cluster of its own on loopback: etcd, PostgreSQL, nodes, two gates. Callers append to objects and
read them through both gates while processes are killed, frozen, cut off and restarted. One line per scenario tells what
the callers noticed:

  PASS kill-node  21.4 s  4021 calls, 0 failed, 0 lost, 0 doubled; p50 5 ms, p99 61 ms, longest pause 3.41 s; ...

It fails when a call failed, an acknowledged effect is lost or there twice, an answer does not fit with the others
(a check of linearizability for each object), or shards serve too late after a death. The exit code is 1 then, the
reasons are printed below the line, and the logs of the processes are kept.

examples:
  make chaos                                                   every scenario
  make chaos CHAOS_ARGS="rolling-restart --seconds 20"         one of them, for twenty seconds
  make chaos CHAOS_ARGS="kill-node kill-leader --seed 7"       two of them, with the same dice again
  make chaos CHAOS_ARGS=--list                                 what there is
"""


def main() -> int:
    """Run; 1 when a scenario fails."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        epilog=TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="*", help="which ones, by name; all of them where none is named")
    parser.add_argument("--list", action="store_true", help="list the scenarios and end")
    parser.add_argument("--seconds", type=float, help="how long each scenario goes on, at least once through")
    parser.add_argument("--seed", type=int, help="of what happens by chance; printed when it was chosen")
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
        parser.error(f"no such scenario: {', '.join(unknown)}; --list names them all")
    logging.getLogger("goverse").addHandler(logging.NullHandler())  # what the observer's client of etcd has to say
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell had them ignored
        signal.signal(number, signal.default_int_handler)
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    print(f"seed {seed}, leases of {options.lease_ttl:g} s", flush=True)
    wanted = [known[name] for name in options.scenario] or SCENARIOS
    passed = [carry_out(scenario, seed, options.seconds, options.lease_ttl) for scenario in wanted]
    print(f"{sum(passed)} of {len(passed)} scenarios passed", flush=True)
    return 0 if all(passed) else 1


def carry_out(scenario: Scenario, seed: int, seconds: float | None, lease_ttl_s: float) -> bool:
    """Run one scenario on a cluster of its own, say what came of it, and tell whether it passed."""
    folder = Path(tempfile.mkdtemp(prefix=f"goverse-chaos-{scenario.name}-"))
    try:
        result = asyncio.run(_within_bounds(scenario, folder, seed, seconds, lease_ttl_s))
    except Exception:
        print(
            f"FAIL {scenario.name}: could not be carried out; logs are in {folder}\n{traceback.format_exc()}",
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
