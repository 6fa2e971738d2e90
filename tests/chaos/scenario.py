"""A scenario: what is done to a cluster under load, and what came of it.

The same functions run as ``make chaos``, each on a cluster of its own and for as long as it is told, and in their
shortest form as tests, on a cluster that they share (``test_scenarios.py``).
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import journal
from tests.chaos.history import Verdict
from tests.chaos.load import Load, Tally
from tests.chaos.observer import Observer
from tests.chaos.stage import Bound, Stage
from tests.cluster_processes import Processes, Shape

SHARDS = 128
JOURNALS = Path(journal.__file__)


@dataclass(frozen=True)
class Scenario:
    """One thing to try.

    Attributes:
        name: what it is called on the command line.
        says: what happens, in a sentence.
        run: does it.
        nodes: how many there are when it begins.
        gates: how many there are.
        members: how many etcd has.
        shards: how many there are, unless it shares a cluster with others.
        seconds: how long it goes on unless told otherwise.
        standby: whether PostgreSQL has a synchronous standby.
        detoured: the connections of node n1 lead through proxies, which slow it down a little.
        breaks: connections of clients break, so that calls without a key may end without an answer.
    """

    name: str
    says: str
    run: Callable[[Stage], Awaitable[None]]
    nodes: int = 3
    gates: int = 2
    members: int = 1
    shards: int = SHARDS
    seconds: float = 15
    standby: bool = False
    detoured: bool = False
    breaks: bool = False


@dataclass
class Result:
    """What came of a scenario.

    Attributes:
        problems: why it failed; empty where it passed.
    """

    scenario: Scenario
    took_s: float
    tally: Tally
    verdict: Verdict
    figures: Sequence[str]
    bounds: Sequence[Bound]
    problems: list[str] = field(default_factory=list[str])

    def line(self) -> str:
        """Return all that there is to say in one line."""
        tally, verdict = self.tally, self.verdict
        failed = len(tally.failed) + (0 if self.scenario.breaks else tally.broken)
        parts = [
            f"{tally.answered} calls, {failed} failed, {verdict.lost} lost, {verdict.doubled} doubled",
            latency(tally.latencies_s),
        ]
        if tally.broken and self.scenario.breaks:
            parts.append(f"{tally.broken} without a key broke")
        word = "FAIL" if self.problems else "PASS"
        return f"{word} {self.scenario.name:<22} {self.took_s:5.1f} s  " + "; ".join(
            [*parts, *self.figures, *map(str, worst(self.bounds))]
        )


def latency(seconds: Sequence[float]) -> str:
    """Describe how long calls took."""
    if len(seconds) < 2:
        return "too few calls"
    cuts = statistics.quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms, longest pause {max(seconds):.2f} s"


def worst(bounds: Sequence[Bound]) -> list[Bound]:
    """Return the longest time of each kind."""
    found: dict[str, Bound] = {}
    for bound in bounds:
        if bound.what not in found or bound.seconds > found[bound.what].seconds:
            found[bound.what] = bound
    return list(found.values())


def shape_of(scenario: Scenario, lease_ttl_s: float) -> Shape:
    """Return the cluster on which a scenario begins."""
    return Shape(
        nodes=scenario.nodes,
        gates=scenario.gates,
        shards=scenario.shards,
        members=scenario.members,
        lease_ttl_s=lease_ttl_s,
        application=JOURNALS,
        detoured=("n1",) if scenario.detoured else (),
        standby=scenario.standby,
    )


async def perform(
    scenario: Scenario,
    processes: Processes,
    *,
    seed: int,
    seconds: float | None = None,
    brief: bool = False,
    timed: bool = True,
) -> Result:
    """Carry a scenario out on a cluster that is ready, and judge it.

    Args:
        scenario: what to do.
        processes: the cluster.
        seed: of what happens by chance.
        seconds: how long to go on; the scenario's own time where it is None.
        brief: do no more than is needed to see each thing once.
        timed: whether times decide as well.
    """
    observer = Observer(processes.etcd.urls, processes.shape.shards)
    load = Load(list(processes.gates.values())[: scenario.gates], f"{scenario.name}-{seed}", seed)
    until = scenario.seconds if seconds is None else seconds
    stage = Stage(processes, observer, load, until, brief, random.Random(seed))
    began = asyncio.get_running_loop().time()
    await observer.start()
    load.start()
    problems: list[str] = []
    try:
        await stage.served()
        await scenario.run(stage)
        await stage.served()
    except (AssertionError, TimeoutError) as error:
        problems.append(f"{type(error).__name__}: {error}")
    finally:
        await load.stop()
        verdict = load.history.judge(await load.finals())
        await load.close()
        await observer.stop()
    took_s = asyncio.get_running_loop().time() - began
    result = Result(scenario, took_s, load.tally, verdict, stage.figures, stage.bounds, problems)
    problems.extend(_problems(result, timed=timed))
    problems.extend(f"{name} ended by itself with {code}" for name, code in processes.ended().items())
    return result


def _problems(result: Result, *, timed: bool) -> list[str]:
    found = [f"failed: {each}" for each in result.tally.failed]
    if result.tally.broken and not result.scenario.breaks:
        found.append(f"{result.tally.broken} calls without a key ended without an answer")
    found.extend(result.verdict.complaints)
    if timed:
        found.extend(f"too late: {bound}" for bound in result.bounds if not bound.is_kept)
    return found
