"""An etcd that is emptied or restored from a backup under running nodes, which register and publish again.

The in-memory etcd is used, so that a test decides exactly when that happens. ``tests/chaos`` covers the real one.
"""

from __future__ import annotations

import asyncio

import orjson
import pytest

from goverse import Object, call
from goverse.model.frames import Operation
from tests.nodes import code, key_of, settle, until, value
from tests.twin_cluster import SHARDS, Host, TwinCluster

LONG_S = 600.0  # a lease that does not expire during a test
WRITES_MAX = 40  # writes of three nodes that register and publish again: a few each, not hundreds per second


class Purse(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value

    @call(readonly=True)
    async def look(self) -> int:
        return self.value


async def add_everywhere(cluster: TwinCluster, expected: int) -> None:
    replies = await asyncio.gather(*(cluster.call(Purse, f"p{number}", "add") for number in range(64)))
    assert [value(reply) for reply in replies] == [expected] * 64


def is_settled(cluster: TwinCluster) -> bool:
    """Return True if the shards are balanced and none is moving."""
    targets, owners = cluster.watch.view.targets, cluster.owners()
    counts = [owners.count(name) for name in cluster.hosts]
    return targets is not None and targets.owners() == owners and max(counts) - min(counts) <= 1


async def lead(cluster: TwinCluster) -> Host:
    """Wait for a leader."""
    await until(lambda: any(host.keeper.leads for host in cluster.hosts.values() if not host.dead))
    return next(host for host in cluster.hosts.values() if not host.dead and host.keeper.leads)


def is_sure(host: Host) -> bool:
    """Return True if a node answers readonly calls to its open shards without a check in the store."""
    held = host.keeper.ownership.shards
    return bool(held) and all(host.keeper.may_answer(shard, each.epoch) for shard, each in held.items())


@pytest.mark.requirement("CLU-1", "CLU-2", "CLU-9")
async def test_nodes_keep_their_shards_when_etcd_is_emptied() -> None:
    async with TwinCluster(Purse, lease_ttl_s=LONG_S) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        await add_everywhere(cluster, 1)
        await until(lambda: is_settled(cluster))
        owners = cluster.owners()
        cluster.keys.restore(None)
        await until(lambda: cluster.watch.view.histories == 1)
        await until(lambda: cluster.owners() == owners)
        await add_everywhere(cluster, 2)
        assert cluster.watch.view.shard_count == SHARDS
        await lead(cluster)
        await until(lambda: all(map(is_sure, cluster.hosts.values())))
        await settle(200)
        assert cluster.keys.revision < WRITES_MAX


@pytest.mark.requirement("CLU-1", "CLU-2", "CLU-4")
async def test_a_node_that_dies_after_etcd_was_emptied_loses_its_shards_to_the_others() -> None:
    async with TwinCluster(Purse) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        await add_everywhere(cluster, 1)
        cluster.keys.restore(None)
        await until(lambda: cluster.watch.view.histories == 1)
        cluster.hosts["a"].kill()
        await cluster.served("b", "c")
        await add_everywhere(cluster, 2)
        assert cluster.keys.revision < 2 * WRITES_MAX


@pytest.mark.requirement("CLU-1", "CLU-2")
async def test_a_node_that_died_before_etcd_was_emptied_loses_its_shards_to_the_others() -> None:
    async with TwinCluster(Purse) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        await add_everywhere(cluster, 1)
        cluster.hosts["a"].kill()
        cluster.keys.restore(None)
        await until(lambda: cluster.watch.view.histories == 1)
        await cluster.served("b", "c")
        await add_everywhere(cluster, 2)


@pytest.mark.requirement("CLU-1", "CLU-2", "CLU-4")
async def test_a_backup_from_before_a_node_joined_is_brought_up_to_date_by_the_nodes() -> None:
    async with TwinCluster(Purse) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        backup = cluster.keys.backup()
        await cluster.join("c")
        await cluster.served("a", "b", "c")
        await add_everywhere(cluster, 1)
        cluster.keys.restore(backup)
        await until(lambda: cluster.watch.view.histories == 1)
        await cluster.served("a", "b", "c")
        await add_everywhere(cluster, 2)
        await lead(cluster)
        await until(lambda: all(map(is_sure, cluster.hosts.values())))
        cluster.hosts["b"].kill()
        await until(lambda: None not in cluster.owners() and "b" not in cluster.owners())
        await add_everywhere(cluster, 3)
        assert cluster.keys.revision < backup.revision + 3 * WRITES_MAX


@pytest.mark.requirement("CLU-1", "CLU-2")
async def test_a_backup_in_which_shards_have_other_owners_changes_no_object() -> None:
    async with TwinCluster(Purse) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        await add_everywhere(cluster, 1)
        backup = cluster.keys.backup()
        await cluster.join("b")
        await cluster.served("a", "b")
        await add_everywhere(cluster, 2)
        cluster.keys.restore(backup)
        await until(lambda: cluster.watch.view.histories == 1)
        await cluster.served("a", "b")
        await add_everywhere(cluster, 3)
        replies = [await cluster.call(Purse, f"p{number}", "look") for number in range(64)]
        assert [value(reply) for reply in replies] == [3] * 64


@pytest.mark.requirement("CLU-2")
async def test_shards_of_a_node_that_cannot_reach_the_emptied_etcd_are_not_claimed_while_it_may_answer() -> None:
    async with TwinCluster(Purse, lease_ttl_s=2.0) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        await add_everywhere(cluster, 1)
        cut_off = cluster.hosts["a"]
        mine = {f"p{number}" for number in range(64) if cluster.owners()[shard_of(cluster, f"p{number}")] == "a"}
        old = cluster.connect("a")
        cut_off.coordinator.reach.cut()
        cluster.keys.restore(None)

        async def stale() -> int:
            """Call the isolated node until other nodes have its shards. Count its answers in that time."""
            answers = 0
            while set(cluster.owners()) != {"b"}:
                for each in mine:
                    reply = await old.submit(cluster.request(Purse, each, "look"))
                    answers += code(reply) == ""
                await asyncio.sleep(0)
            return answers

        assert await stale() > 0
        await add_everywhere(cluster, 2)
        for each in mine:
            reply = await old.submit(cluster.request(Purse, each, "look"))
            assert code(reply) in ("unavailable", "moving")
        cut_off.coordinator.reach.heal()
        await cluster.served("a", "b")
        await add_everywhere(cluster, 3)


@pytest.mark.requirement("CLU-2")
async def test_a_process_refuses_an_etcd_that_holds_a_cluster_with_another_shard_count() -> None:
    async with TwinCluster(Purse, lease_ttl_s=LONG_S) as cluster:
        await cluster.join("a")
        await cluster.served("a")
        await add_everywhere(cluster, 1)
        other = cluster.keys.backup()
        entry = other.entries[cluster.layout.shards]
        entries = {cluster.layout.shards: entry._replace(value=b"32")}
        cluster.keys.restore(other._replace(entries=entries, leases={}))
        await settle(200)
        assert (cluster.watch.view.shard_count, cluster.watch.view.histories) == (SHARDS, 0)
        await add_everywhere(cluster, 2)


@pytest.mark.requirement("CLU-2")
async def test_time_in_which_a_machine_was_suspended_counts_for_its_lease() -> None:
    async with TwinCluster(Purse, lease_ttl_s=LONG_S) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        await add_everywhere(cluster, 1)
        asleep = cluster.hosts["a"]
        mine = [f"p{number}" for number in range(64) if cluster.owners()[shard_of(cluster, f"p{number}")] == "a"]
        asleep.coordinator.reach.cut()
        lease_id = asleep.keeper._leases.lease.id
        assert lease_id is not None
        cluster.keys.revoke(lease_id)  # as if it had expired
        await cluster.served("b")
        await add_everywhere(cluster, 2)
        asleep.suspended_s = 2 * LONG_S
        old = cluster.connect("a")
        read = cluster.request(Purse, mine[0], "")
        read = type(read)(Operation.READ, read.key, "", b"", read.deadline, read.request_id)
        state = await old.submit(read)
        assert code(state) in ("unavailable", "moving") or orjson.loads(state.body)["value"] == 2
        for each in mine:
            assert code(await old.submit(cluster.request(Purse, each, "look"))) in ("unavailable", "moving")


def shard_of(cluster: TwinCluster, object_id: str) -> int:
    return cluster.router.table.shard_of(key_of(Purse, object_id))
