"""Scenarios of planned restarts: a rolling upgrade, scaling up and down, and a start of the whole cluster."""

from __future__ import annotations

import asyncio
import signal
import statistics
from typing import Final

from tests.chaos.scenario import Scenario
from tests.chaos.stage import Bound, Stage

START_S_MAX: Final = 5.0


async def rolling_restart(stage: Stage) -> None:
    """Restart every node and both gates one after the other; nodes alternate between graceful and fast shutdown."""
    restarted, how = 0, signal.SIGTERM
    while stage.goes_on():
        for node in stage.some(stage.processes.nodes, brief=2):
            await stage.leave(node, how)
            await stage.start(node)
            restarted += 1
            how = signal.SIGQUIT if how is signal.SIGTERM else signal.SIGTERM
        for gate in stage.some(stage.processes.gates, brief=1):
            await stage.leave(gate)
            await stage.served()
            stage.processes.start_gate(gate)
            await stage.processes.ready(gate)
            await stage.served()
            restarted += 1
    stage.tell(f"{restarted} restarts")


async def scale(stage: Stage) -> None:
    """Scale from one node to four, and down to two."""
    first = stage.processes.nodes
    more = [f"n{number}" for number in range(len(first) + 1, 5)]
    for node in more:
        stage.processes.start_node(node)
    await stage.observer.until(lambda: stage.observer.is_even(4), "four nodes with their shares")
    await stage.served()
    grown = stage.observer.moved
    for node in ("n4", "n3"):
        await stage.leave(node)
        await stage.served()
    await stage.observer.until(lambda: stage.observer.is_even(2), "two nodes with their shares")
    pauses_ms = [1e3 * pause_s for pause_s in stage.observer.pauses_s]
    stage.tell(f"{grown} shards moved to the new nodes, {stage.observer.moved - grown} back")
    stage.tell(f"unclaimed while moving: median {statistics.median(pauses_ms):.0f} ms, at most {max(pauses_ms):.0f} ms")


async def start(stage: Stage) -> None:
    """Stop all nodes and start them at the same moment, when no shard has an owner."""
    now, observer = asyncio.get_running_loop().time, stage.observer
    while stage.goes_on():
        nodes = stage.processes.nodes
        for node in nodes:
            await stage.leave(node)
        await observer.until(lambda: not observer.owners(), "the end of all nodes")
        for node in nodes:
            stage.processes.start_node(node)
        began = now()
        await observer.until(observer.is_whole, "claims of all shards")
        claimed_s = now() - began
        await stage.served()
        what = f"{stage.processes.shape.shards} shards serve after the last node was started"
        stage.bounds.append(Bound(what, now() - began, START_S_MAX, f"claimed {claimed_s:.2f} s"))


RESTARTS = [
    Scenario("start", "all nodes of a cluster with 8 192 shards start together", start, shards=8_192),
    Scenario(
        "rolling-restart",
        "every node and both gates restart, one after the other",
        rolling_restart,
        seconds=20,
    ),
    Scenario("scale", "the cluster is scaled from one node to four, and to two", scale, nodes=1),
]
