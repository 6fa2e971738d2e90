"""Real nodes, keepers and routers over an in-memory etcd and store: placement of shards, and routing of calls."""

import asyncio
from functools import partial

import pytest

from goverse import Object, call
from goverse_node.ownership.shutdown import Shutdown
from tests.nodes import Meeting, code, key_of, until, value
from tests.twin_cluster import SHARDS, TwinCluster

PLACE = Meeting()


class Tally(Object):
    value: int = 0

    @call
    async def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @call
    async def add_slowly(self) -> int:
        await PLACE.wait("slow")
        self.value += 1
        return self.value

    @call
    async def add_there(self, other: str) -> int:
        self.value += 1
        return await self.ref(Tally, other).add()

    @call(readonly=True)
    async def look(self) -> int:
        return self.value


async def everywhere(cluster: TwinCluster, expected: int) -> None:
    """Call objects on all shards."""
    replies = await asyncio.gather(*(cluster.call(Tally, f"t{number}", "add") for number in range(64)))
    assert [value(reply) for reply in replies] == [expected] * 64


def _is_settled(cluster: TwinCluster) -> bool:
    targets = cluster.watch.view.targets
    return targets is not None and targets.owners() == cluster.owners()


def _spread(cluster: TwinCluster) -> int:
    owners = cluster.owners()
    counts = [owners.count(name) for name in "abc"]
    return max(counts) - min(counts)


@pytest.mark.requirement("CLU-1", "CLU-2", "CLU-4")
async def test_nodes_share_the_shards_and_every_object_answers() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        await everywhere(cluster, 1)
        await until(lambda: _spread(cluster) <= 3)  # a node that joins late gets its share over several rounds
        await everywhere(cluster, 2)


@pytest.mark.requirement("CLU-1")
async def test_calls_before_the_first_node_wait_for_it() -> None:
    async with TwinCluster(Tally) as cluster:
        early = [cluster.call(Tally, f"t{number}", "add") for number in range(8)]
        await cluster.join("a")
        assert [value(await each) for each in early] == [1] * 8


@pytest.mark.requirement("CLU-3", "CLU-11")
async def test_shards_move_to_a_node_that_joins_without_a_failed_call() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        done = asyncio.Event()
        tally = asyncio.create_task(_load(cluster, done))
        await cluster.join("b")
        await cluster.served("a", "b")
        await cluster.hosts["a"].leave(Shutdown.GRACEFUL)
        del cluster.hosts["a"]
        await cluster.served("b")
        done.set()
        made = await tally
        assert sum([value(await cluster.call(Tally, f"t{number}", "look")) for number in range(16)]) == made > 0


@pytest.mark.requirement("CLU-9", "DUR-2")
async def test_a_killed_node_loses_nothing_and_doubles_nothing() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        done = asyncio.Event()
        tally = asyncio.create_task(_load(cluster, done))
        for name in ("a", "b"):
            cluster.hosts[name].kill()
            await until(partial(_gone, cluster, name))
        done.set()
        made = await tally
        assert sum([value(await cluster.call(Tally, f"t{number}", "look")) for number in range(16)]) == made > 0


async def _load(cluster: TwinCluster, done: asyncio.Event) -> int:
    """Call ``add`` until the test stops it. Every call must succeed. Return the number of calls."""
    made = 0

    async def one(number: int) -> None:
        nonlocal made
        while not done.is_set():
            reply = await cluster.call(Tally, f"t{number}", "add")
            assert reply.problem is None, reply.problem
            made += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(one(number))
    return made


@pytest.mark.requirement("CLU-3")
async def test_a_running_turn_ends_before_its_shard_moves_and_later_calls_follow_it() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        slow = cluster.call(Tally, "t1", "add_slowly")
        await PLACE.reached("slow")
        await cluster.join("b")
        leaving = asyncio.create_task(cluster.hosts["a"].keeper.leave(Shutdown.GRACEFUL, 5.0))
        shard = cluster.router.table.shard_of(key_of(Tally, "t1"))
        await until(lambda: cluster.hosts["a"].keeper.epoch(shard) is None)
        behind = cluster.call(Tally, "t1", "add")
        await until(lambda: len(cluster.router.parking) > 0)
        assert not slow.done()
        PLACE.let_go("slow")
        assert value(await slow) == 1
        assert value(await behind) == 2
        assert await leaving


@pytest.mark.requirement("OBJ-8", "CLU-3")
async def test_objects_call_each_other_over_nodes() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        replies = [await cluster.call(Tally, f"t{number}", "add_there", other=f"u{number}") for number in range(32)]
        assert [value(reply) for reply in replies] == [1] * 32


@pytest.mark.requirement("CLU-2")
async def test_a_node_without_etcd_serves_on_and_one_that_was_replaced_does_not() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        await everywhere(cluster, 1)
        host = cluster.hosts["a"]
        mine = [number for number in range(64) if _owner(cluster, f"t{number}") == "a"]
        old = {number: cluster.connect("a") for number in mine}
        host.coordinator.reach.cut()
        await until(lambda: not host.keeper._leases.lease.alive(host.clock()))
        await until(lambda: set(cluster.owners()) == {"b"})
        for number in mine:
            stale = await old[number].submit(cluster.request(Tally, f"t{number}", "look", key=f"stale-{number}"))
            assert code(stale) in ("unavailable", "moving")
        await everywhere(cluster, 2)


@pytest.mark.requirement("CLU-1", "CLU-2")
async def test_calls_go_on_during_an_outage_of_etcd() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        await everywhere(cluster, 1)
        for host in cluster.hosts.values():
            host.coordinator.reach.cut()
        cluster.coordinator.reach.cut()
        await until(lambda: not any(host.keeper._leases.lease.alive(host.clock()) for host in cluster.hosts.values()))
        await everywhere(cluster, 2)
        replies = [await cluster.call(Tally, f"t{number}", "look") for number in range(64)]
        assert [value(reply) for reply in replies] == [2] * 64
        for reach in (cluster.coordinator.reach, *(host.coordinator.reach for host in cluster.hosts.values())):
            reach.heal()
        await until(lambda: all(host.keeper._leases.lease.alive(host.clock()) for host in cluster.hosts.values()))
        await cluster.served("a", "b")
        await everywhere(cluster, 3)


def _gone(cluster: TwinCluster, name: str) -> bool:
    return name not in cluster.owners() and None not in cluster.owners()


def _owner(cluster: TwinCluster, object_id: str) -> str | None:
    return cluster.owners()[cluster.router.table.shard_of(key_of(Tally, object_id))]


@pytest.mark.requirement("CLU-1")
async def test_a_router_is_ready_while_a_part_of_the_shards_is_served_and_says_which_part() -> None:
    async with TwinCluster(Tally, lease_ttl_s=600.0) as cluster:
        assert cluster.router.readiness() == (False, ("no node is registered", f"claimed 0 of {SHARDS} shards"), 0)
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        assert cluster.router.readiness()[:2] == (True, ())
        left = cluster.owners().count("b")
        cluster.hosts["a"].kill()
        assert cluster.router.readiness()[:2] == (True, ("1 of 2 nodes are not ready",))
        cluster.hosts["b"].coordinator.reach.cut()  # so that no other node takes the shards
        lease_id = cluster.hosts["a"].keeper._leases.lease.id
        assert lease_id is not None
        cluster.keys.revoke(lease_id)
        await until(lambda: set(cluster.owners()) == {None, "b"})
        assert cluster.router.readiness()[:2] == (True, (f"claimed {left} of {SHARDS} shards",))
        cluster.hosts["b"].kill()
        assert not cluster.router.readiness().ready


@pytest.mark.requirement("CLU-9", "OBS-3")
async def test_a_takeover_is_one_record_of_the_leader_and_one_of_each_node_that_takes_shards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        await until(lambda: _spread(cluster) <= 1 and _is_settled(cluster))
        dead = next(name for name, host in cluster.hosts.items() if not host.keeper.leads)
        lost = cluster.owners().count(dead)
        caplog.clear()
        with caplog.at_level("INFO", logger="goverse.node.ownership"):
            cluster.hosts[dead].kill()
            await until(partial(_gone, cluster, dead))
        plans = [vars(record) for record in caplog.records if record.message == "shards reassigned"]
        (plan,) = [each for each in plans if each["reason"] == "owner_gone"]
        assert (plan["source"], plan["shards"]) == (dead, lost)
        assert sum(plan["targets"].values()) == lost
        assert dead not in plan["targets"]
        opened = [vars(record)["shards"] for record in caplog.records if record.message == "shards opened"]
        assert sum(opened) == lost
