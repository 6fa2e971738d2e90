"""Scenarios that kill processes without warning."""

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
    """Kill a node that is not the leader."""
    while stage.goes_on():
        node = stage.a_follower()
        await stage.recovered(await stage.kill(node), "a node's death", node)
        await stage.start(node)


async def kill_leader(stage: Stage) -> None:
    """Kill the leader."""
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
    """Kill the leader and another of four nodes at the same moment."""
    while stage.goes_on():
        nodes = (stage.observer.leader, stage.a_follower())
        await stage.recovered(await stage.kill(*nodes), "two simultaneous deaths", *nodes)
        await stage.start(*nodes)


async def kill_source(stage: Stage) -> None:
    """Kill a node while its shards move to other nodes."""
    while stage.goes_on():
        node = stage.a_follower()
        await _kill_while_moving(stage, drained=node, killed=node, what="the source's death")


async def kill_target(stage: Stage) -> None:
    """Kill a node while shards move to it."""
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
    await asyncio.sleep(SLOW_TURN_S / 4)  # the slow turns have started
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
    """Kill and restart one random node after another, without waiting for the cluster to settle."""
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
    Scenario("kill-node", "a node is killed", kill_node),
    Scenario("kill-leader", "the leader is killed", kill_leader),
    Scenario("kill-gate", "a gate is killed, then the other one", kill_gate, seconds=8, breaks=True),
    Scenario("kill-two", "the leader and another of four nodes are killed at the same moment", kill_two, nodes=4),
    Scenario("kill-source", "a node is killed while its shards move away", kill_source),
    Scenario("kill-target", "a node is killed while shards move to it", kill_target),
    Scenario("kill-at-random", "random nodes are killed one after another, without waiting in between", kill_at_random),
]
