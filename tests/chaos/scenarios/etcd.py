"""Scenarios of etcd: restarts, loss of its leader, an outage, compaction, data loss, and a restore from a backup."""

from __future__ import annotations

import asyncio
from typing import Final

from goverse.ports.coordinator import Delete, Put
from tests.chaos.scenario import Scenario
from tests.chaos.stage import Bound, Stage, interrupted
from tests.etcd_server import EtcdMember

WRITES_PER_S_MAX: Final = 20


async def restart(stage: Stage) -> None:
    """Restart the only member, first gracefully and then by force."""
    (member,) = stage.processes.etcd.members
    while stage.goes_on():
        for end in (member.stop, member.kill):
            await asyncio.to_thread(end)
            await stage.served()
            await _start(stage, member)
            await stage.served()
    await _works(stage)


async def kill_leader(stage: Stage) -> None:
    """Kill the leader of etcd and start it again."""
    while stage.goes_on():
        leader = await stage.processes.etcd.leader()
        await asyncio.to_thread(leader.kill)
        await stage.processes.etcd.healthy()
        await stage.served()
        await _start(stage, leader)
        await _works(stage)


async def away(stage: Stage) -> None:
    """Stop all members for a minute: owners keep serving their shards although their leases have expired."""
    members = stage.processes.etcd.members
    lasts_s = stage.lasting(60, brief=stage.lease_ttl_s + 2)
    for member in members:
        await asyncio.to_thread(member.kill)
    before = len(stage.load.tally.latencies_s)
    await asyncio.sleep(lasts_s)  # the outage itself is the test
    latencies_s = stage.load.tally.latencies_s[before:]
    stage.tell(f"{len(latencies_s)} calls in {lasts_s:g} s without etcd")
    stage.bounds.append(Bound("longest call without etcd", max(latencies_s, default=lasts_s), 5))
    for member in members:
        await _start(stage, member)
    await _works(stage)


async def compaction(stage: Stage) -> None:
    """Compact the history while shards move and while a node is disconnected from etcd."""
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
                await asyncio.sleep(stage.lease_ttl_s / 2)  # shards move, and the node's lease expires
                await stage.processes.etcd.compact()
                compactions += 1
            await stage.served()
        for node in stage.processes.nodes:
            await stage.joined(node)
        await stage.processes.etcd.compact()
        await stage.served()
        compactions += 1
    stage.tell(f"{compactions} compactions")


async def emptied(stage: Stage) -> None:
    """Delete all data of etcd under the running cluster, then kill a node: its shards must move to the others."""
    (member,) = stage.processes.etcd.members
    while stage.goes_on():
        await asyncio.to_thread(member.kill)
        member.wipe()
        began, histories = asyncio.get_running_loop().time(), stage.observer.view.histories
        await _start(stage, member)
        await _healed(stage, began, histories, "etcd was emptied")
        node = stage.a_follower()
        await stage.recovered(await stage.kill(node), "a node's death after etcd was emptied", node)
        await stage.start(node)


async def emptied_behind_a_partition(stage: Stage) -> None:
    """Delete all data of etcd while a serving node cannot reach it."""
    (member,) = stage.processes.etcd.members
    proxies = stage.processes.detours["n1"].etcd

    def hold() -> None:
        for proxy in proxies:
            proxy.hold()

    def release() -> None:
        for proxy in proxies:
            proxy.cut()
            proxy.release()

    async with interrupted(hold, release):
        await asyncio.to_thread(member.kill)
        member.wipe()
        await _start(stage, member)
        await stage.observer.until(
            lambda: stage.observer.is_whole() and "n1" not in stage.observer.owners(), "every shard served without n1"
        )
        await stage.served()
    await stage.joined("n1")
    await _works(stage)


async def restored(stage: Stage) -> None:
    """Restore a backup from before shards moved and a node restarted, then kill a node."""
    (member,) = stage.processes.etcd.members
    while stage.goes_on():
        await asyncio.to_thread(member.kill)
        member.save()
        await _start(stage, member)
        await _works(stage)  # shards move off a node and back
        await asyncio.to_thread(member.kill)
        member.restore()
        began, histories = asyncio.get_running_loop().time(), stage.observer.view.histories
        await _start(stage, member)
        await _healed(stage, began, histories, "etcd was restored")
        node = stage.a_follower()
        await stage.recovered(await stage.kill(node), "a node's death after etcd was restored", node)
        await stage.start(node)


async def _healed(stage: Stage, began: float, histories: int, what: str) -> None:
    """Wait until every shard is claimed in the new history, then count the writes while nodes settle."""
    observer = stage.observer
    await observer.until(lambda: observer.view.histories > histories, f"a new history after {what}")
    await observer.until(lambda: observer.is_whole() and observer.leader != "", f"a whole cluster after {what}")
    took_s = asyncio.get_running_loop().time() - began
    stage.bounds.append(Bound(f"whole again after {what}", took_s, stage.lease_ttl_s + 2))
    await stage.served()
    before, at = observer.view.revision, asyncio.get_running_loop().time()
    await asyncio.sleep(stage.lease_ttl_s + 1)  # nodes plan again after one lease time; each write is counted
    seconds = asyncio.get_running_loop().time() - at
    writes = observer.view.revision - before
    stage.tell(f"{writes} writes in {seconds:.1f} s after {what}")
    assert writes <= WRITES_PER_S_MAX * seconds, f"{writes} writes in {seconds:.1f} s after {what}"


async def _start(stage: Stage, member: EtcdMember) -> None:
    member.start()
    await stage.processes.etcd.healthy(member)


async def _works(stage: Stage) -> None:
    """Check that nodes follow etcd again: shards move off a node and back."""
    node = stage.a_follower()
    key = stage.observer.view.layout.drain(node)
    await stage.observer.coordinator.write([], [Put(key, b"")])
    await stage.observer.until(
        lambda: not stage.observer.owners()[node] and stage.observer.is_whole(), f"{node} without shards"
    )
    await stage.observer.coordinator.write([], [Delete(key)])
    await stage.joined(node)


ETCD = [
    Scenario("etcd-restart", "the only etcd member is stopped, then killed, and restarted each time", restart),
    Scenario("etcd-leader", "the leader of three etcd members is killed", kill_leader, members=3),
    Scenario("etcd-away", "all etcd members are down for a minute", away, seconds=0),
    Scenario("etcd-compaction", "etcd compacts its history before a node has read it", compaction, detoured=True),
    Scenario("etcd-emptied", "etcd loses all data under the running cluster, then a node is killed", emptied),
    Scenario(
        "etcd-emptied-partition",
        "etcd loses all data while a node cannot reach it",
        emptied_behind_a_partition,
        detoured=True,
        seconds=0,
    ),
    Scenario("etcd-restored", "etcd is restored from a backup of a minute ago, then a node is killed", restored),
]
