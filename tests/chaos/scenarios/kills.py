"""Processes that die without a word."""

from __future__ import annotations

import asyncio
from typing import Final

from goverse.ports.coordinator import Delete, Put
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage

SLOW_TURN_S: Final = 0.8
SLOW_CALLS: Final = 24
KILLS_MIN: Final = 6


async def kill_node(stage: Stage) -> None:
    """Kill a node that does not lead."""
    while stage.goes_on():
        node = stage.a_follower()
        await stage.recovered(await stage.kill(node), "a node's death", node)
        await stage.start(node)


async def kill_leader(stage: Stage) -> None:
    """Kill the node that leads."""
    while stage.goes_on():
        node = stage.observer.leader
        await stage.recovered(await stage.kill(node), "the leader's death", node)
        await stage.start(node)


async def kill_gate(stage: Stage) -> None:
    """Kill one gate, then the other."""
    while stage.goes_on():
        for gate in stage.some(stage.processes.gates, brief=1):
            await stage.kill(gate)
            await stage.served()
            stage.processes.start_gate(gate)
            await stage.processes.ready(gate)
            await stage.served()


async def kill_two(stage: Stage) -> None:
    """Kill the leader and another one of four nodes at the same moment."""
    while stage.goes_on():
        nodes = (stage.observer.leader, stage.a_follower())
        await stage.recovered(await stage.kill(*nodes), "two deaths at once", *nodes)
        await stage.start(*nodes)


async def kill_source(stage: Stage) -> None:
    """Kill a node while it gives its shards away."""
    while stage.goes_on():
        node = stage.a_follower()
        await _kill_while_moving(stage, drained=node, killed=node, what="the source's death")


async def kill_target(stage: Stage) -> None:
    """Kill a node while it takes shards over."""
    while stage.goes_on():
        drained, killed = stage.random.sample(stage.processes.nodes, 2)
        await _kill_while_moving(stage, drained=drained, killed=killed, what="the target's death")


async def _kill_while_moving(stage: Stage, *, drained: str, killed: str, what: str) -> None:
    """Drain a node that is busy with slow turns, and kill a node as soon as the first shards have left."""
    key = stage.observer.view.layout.drain(drained)
    shards = stage.observer.owners()[drained]
    slow = [
        asyncio.create_task(stage.load.append_slowly(f"slow-{number}", SLOW_TURN_S)) for number in range(SLOW_CALLS)
    ]
    await asyncio.sleep(SLOW_TURN_S / 4)  # they have begun
    await stage.observer.coordinator.write([], [Put(key, b"")])
    await stage.observer.until(lambda: stage.observer.owners()[drained] < shards, f"a shard that leaves {drained}")
    left = stage.observer.owners()[drained]
    began = await stage.kill(killed)
    await stage.recovered(began, what, killed)
    await asyncio.gather(*slow)
    stage.tell(f"{left} of {shards} shards were still to be moved")
    await stage.observer.coordinator.write([], [Delete(key)])
    await stage.start(killed)
    await stage.joined(drained)


async def kill_at_random(stage: Stage) -> None:
    """Kill one node after another, whichever it is, and start it again, without waiting for calm in between."""
    killed = 0
    while stage.goes_on() or killed < (2 if stage.brief else KILLS_MIN):
        node = stage.random.choice(stage.processes.nodes)
        await stage.kill(node)
        killed += 1
        await asyncio.sleep(stage.random.uniform(0, stage.lease_ttl_s))
        stage.processes.start_node(node)
        await asyncio.sleep(stage.random.uniform(0, stage.lease_ttl_s))
    for node in stage.processes.nodes:
        await stage.joined(node)
    stage.tell(f"{killed} kills")


KILLS = [
    Scenario("kill-node", "a node dies", kill_node),
    Scenario("kill-leader", "the node that plans dies", kill_leader),
    Scenario("kill-gate", "a gate dies, then the other one", kill_gate, seconds=8, breaks=True),
    Scenario("kill-two", "two of four nodes die at the same moment, the leader among them", kill_two, nodes=4),
    Scenario("kill-source", "a node dies while its shards move away", kill_source),
    Scenario("kill-target", "a node dies while shards move to it", kill_target),
    Scenario("kill-at-random", "node after node dies, whatever the cluster is busy with", kill_at_random),
]
