"""etcd that restarts, loses its leader, is away, and forgets its history."""

from __future__ import annotations

import asyncio

from goverse.ports.coordinator import Delete, Put
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Bound, Stage, interrupted
from tests.etcd_server import EtcdMember


async def restart(stage: Stage) -> None:
    """Restart the only member, in order and by force."""
    (member,) = stage.processes.etcd.members
    while stage.goes_on():
        for end in (member.stop, member.kill):
            await asyncio.to_thread(end)
            await stage.served()
            await _start(stage, member)
            await stage.served()
    await _works(stage)


async def kill_leader(stage: Stage) -> None:
    """Kill the member that leads etcd, and start it again."""
    while stage.goes_on():
        leader = await stage.processes.etcd.leader()
        await asyncio.to_thread(leader.kill)
        await stage.processes.etcd.healthy()
        await stage.served()
        await _start(stage, leader)
        await _works(stage)


async def away(stage: Stage) -> None:
    """Stop all members for a minute: the owners of shards go on, however long their leases are over."""
    members = stage.processes.etcd.members
    lasts_s = stage.lasting(60, brief=stage.lease_ttl_s + 2)
    for member in members:
        await asyncio.to_thread(member.kill)
    before = len(stage.load.tally.latencies_s)
    await asyncio.sleep(lasts_s)  # it is about what happens meanwhile
    latencies_s = stage.load.tally.latencies_s[before:]
    stage.tell(f"{len(latencies_s)} calls in {lasts_s:g} s without etcd")
    stage.bounds.append(Bound("longest call without etcd", max(latencies_s, default=lasts_s), 5))
    for member in members:
        await _start(stage, member)
    await _works(stage)


async def compaction(stage: Stage) -> None:
    """Forget the history while shards move, and while a node does not hear what is forgotten."""
    proxies = stage.processes.detours["n1"].etcd

    def hold() -> None:
        for proxy in proxies:
            proxy.hold()

    def release() -> None:
        for proxy in proxies:
            proxy.cut()
            proxy.release()

    compactions = 0
    while stage.goes_on():
        async with interrupted(hold, release):
            for change in (
                Put(stage.observer.view.layout.drain("n2"), b""),
                Delete(stage.observer.view.layout.drain("n2")),
            ):
                await stage.observer.coordinator.write([], [change])
                await asyncio.sleep(stage.lease_ttl_s / 2)  # shards move, and the node's lease runs out
                await stage.processes.etcd.compact()
                compactions += 1
            await stage.served()
        for node in stage.processes.nodes:
            await stage.joined(node)
        await stage.processes.etcd.compact()
        await stage.served()
        compactions += 1
    stage.tell(f"{compactions} compactions")


async def _start(stage: Stage, member: EtcdMember) -> None:
    member.start()
    await stage.processes.etcd.healthy(member)


async def _works(stage: Stage) -> None:
    """See that etcd's word is heard again: shards move away from a node, and back."""
    node = stage.a_follower()
    key = stage.observer.view.layout.drain(node)
    await stage.observer.coordinator.write([], [Put(key, b"")])
    await stage.observer.until(
        lambda: not stage.observer.owners()[node] and stage.observer.is_whole(), f"{node} without shards"
    )
    await stage.observer.coordinator.write([], [Delete(key)])
    await stage.joined(node)


ETCD = [
    Scenario("etcd-restart", "the only member of etcd stops, then dies, and starts again", restart),
    Scenario("etcd-leader", "the leader of three members of etcd dies", kill_leader, members=3),
    Scenario("etcd-away", "no member of etcd is there for a minute", away, seconds=0),
    Scenario("etcd-compaction", "etcd forgets its history before a node has heard it", compaction, detoured=True),
]
