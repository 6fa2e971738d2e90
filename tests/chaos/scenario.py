"""Scenarios: what happens to a cluster under load, and the result.

The same functions run in two ways: as ``make chaos``, each on its own cluster and for the requested time, and as tests
in their shortest form, on a shared cluster (``test_scenarios.py``).
"""

from __future__ import annotations

import asyncio
import random
import statistics
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import objects
from tests.chaos.history import Verdict
from tests.chaos.load import Load, Tally
from tests.chaos.observer import Observer
from tests.chaos.stage import Bound, Stage
from tests.cluster_processes import ROOT, Processes, Shape

SHARDS = 128
APPLICATION = Path(objects.__file__)


@dataclass(frozen=True)
class Scenario:
    """One scenario.

    Attributes:
        name: name on the command line.
        says: description in one sentence.
        run: function that runs it.
        nodes: number of nodes at the start.
        gates: number of gates.
        members: number of etcd members.
        shards: number of shards, if the scenario has its own cluster.
        seconds: default duration.
        standby: True if PostgreSQL has a synchronous standby.
        detoured: True if the connections of node n1 go through proxies, which slow it down a little.
        breaks: True if connections of clients break, so that calls without a key may end without a response.
        application: the application of the nodes, with the journals of the load.
        short: False if it is too slow for the tests, so that only ``make chaos`` runs it.
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
    application: Path = APPLICATION
    short: bool = True


@dataclass
class Result:
    """The result of a scenario.

    Attributes:
        problems: reasons for failure; empty if it passed.
    """

    scenario: Scenario
    took_s: float
    tally: Tally
    verdict: Verdict
    figures: Sequence[str]
    bounds: Sequence[Bound]
    problems: list[str] = field(default_factory=list[str])

    def line(self) -> str:
        """Return a summary in one line."""
        tally, verdict = self.tally, self.verdict
        failed = len(tally.failed) + (0 if self.scenario.breaks else tally.broken)
        parts = [
            f"{tally.answered} calls, {failed} failed, {verdict.lost} lost, {verdict.doubled} doubled",
            latency(tally.latencies_s),
        ]
        if tally.broken and self.scenario.breaks:
            parts.append(f"{tally.broken} calls without a key broke")
        word = "FAIL" if self.problems else "PASS"
        return f"{word} {self.scenario.name:<22} {self.took_s:5.1f} s  " + "; ".join(
            [*parts, *self.figures, *map(str, worst(self.bounds))]
        )


def latency(seconds: Sequence[float]) -> str:
    """Format the latencies of calls."""
    if len(seconds) < 2:
        return "too few calls"
    cuts = statistics.quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms, longest pause {max(seconds):.2f} s"


def worst(bounds: Sequence[Bound]) -> list[Bound]:
    """Return the longest duration of each kind."""
    found: dict[str, Bound] = {}
    for bound in bounds:
        if bound.what not in found or bound.seconds > found[bound.what].seconds:
            found[bound.what] = bound
    return list(found.values())


def place_of(error: BaseException) -> str:
    """Return the functions of the tests through which an error came, the innermost first."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT / "tests") in frame.filename]
    return "in " + ", called by ".join(f"{frame.name} (line {frame.lineno})" for frame in reversed(frames))


def shape_of(scenario: Scenario, lease_ttl_s: float) -> Shape:
    """Return the shape of the cluster for a scenario."""
    return Shape(
        nodes=scenario.nodes,
        gates=scenario.gates,
        shards=scenario.shards,
        members=scenario.members,
        lease_ttl_s=lease_ttl_s,
        application=scenario.application,
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
    """Run a scenario on a ready cluster and check the result.

    Args:
        scenario: scenario to run.
        processes: cluster to run it on.
        seed: seed of the random decisions.
        seconds: duration; None for the scenario's default.
        brief: True for the shortest form, with each disturbance once.
        timed: True if exceeded time limits fail the scenario.
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
        problems.append(f"{type(error).__name__}: {error} {place_of(error)}")
    finally:
        await load.stop()
        verdict = load.history.judge(await load.finals())
        await load.close()
        await observer.stop()
    took_s = asyncio.get_running_loop().time() - began
    result = Result(scenario, took_s, load.tally, verdict, stage.figures, stage.bounds, problems)
    problems.extend(_problems(result, timed=timed))
    problems.extend(f"{name} exited unexpectedly with code {code}" for name, code in processes.ended().items())
    return result


def _problems(result: Result, *, timed: bool) -> list[str]:
    found = [f"failed: {each}" for each in result.tally.failed]
    if result.tally.broken and not result.scenario.breaks:
        found.append(f"{result.tally.broken} calls without a key got no response")
    found.extend(result.verdict.complaints)
    if timed:
        found.extend(f"too late: {bound}" for bound in result.bounds if not bound.is_kept)
    return found
