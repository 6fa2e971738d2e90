"""A node that lost its lease, and whose shards another node now serves, does not answer from memory."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NamedTuple

import orjson
import pytest

from goverse import Object, call
from goverse.model.frames import Operation, Reply
from tests.nodes import code, key_of, until, value
from tests.twin_cluster import Host, TwinCluster, Wire


class Balance(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value

    @call(readonly=True)
    async def look(self) -> int:
        return self.value


class Replaced(NamedTuple):
    """A replaced node, a connection to it, and one object of each of its shards, changed by the new owner."""

    cluster: TwinCluster
    host: Host
    wire: Wire
    objects: Sequence[str]

    async def call(self, object_id: str, method: str) -> Reply:
        return await self.wire.submit(self.cluster.request(Balance, object_id, method))

    async def read(self, object_id: str) -> Reply:
        request = self.cluster.request(Balance, object_id, "")
        return await self.wire.submit(replace(request, operation=Operation.READ))


def shown(state: Reply) -> str:
    """Return the body of a read, or the code of its refusal."""
    return code(state) or f"the value {orjson.loads(state.body)['value']}"


def shard_of(cluster: TwinCluster, object_id: str) -> int:
    return cluster.router.table.shard_of(key_of(Balance, object_id))


@asynccontextmanager
async def replaced_node() -> AsyncGenerator[Replaced]:
    """Isolate a node from etcd until another node has its shards and has written each object again."""
    async with TwinCluster(Balance) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        ids = [f"t{number}" for number in range(64)]
        owners = {each: cluster.owners()[shard_of(cluster, each)] for each in ids}
        mine = list({shard_of(cluster, each): each for each in ids if owners[each] == "a"}.values())
        assert [value(await cluster.call(Balance, each, "add")) for each in mine] == [1] * len(mine)
        host = cluster.hosts["a"]
        host.coordinator.reach.cut()
        await cluster.served("b")
        assert [value(await cluster.call(Balance, each, "add")) for each in mine] == [2] * len(mine)
        await until(lambda: not host.keeper._leases.lease.alive(host.clock()))
        assert all(host.node.activations.get(key_of(Balance, each)) is not None for each in mine)
        yield Replaced(cluster, host, cluster.connect("a"), mine)


@pytest.mark.requirement("CLU-2")
async def test_a_replaced_node_answers_no_readonly_call_from_memory() -> None:
    async with replaced_node() as replaced:
        replies = [await replaced.call(each, "look") for each in replaced.objects]
        told = [code(reply) or f"the value {value(reply)}" for reply in replies]
        assert told == ["unavailable"] * len(replies)


@pytest.mark.requirement("CLU-2")
async def test_a_replaced_node_shows_no_state_that_another_node_has_changed() -> None:
    async with replaced_node() as replaced:
        told = {shown(await replaced.read(each)) for each in replaced.objects}
        assert told <= {"the value 2", "unavailable", "moving"}


@pytest.mark.requirement("CLU-2")
async def test_a_node_whose_commit_was_fenced_off_gives_up_the_shard() -> None:
    async with replaced_node() as replaced:
        first = replaced.objects[0]
        assert code(await replaced.call(first, "add")) == "unavailable"
        await until(lambda: replaced.host.keeper.epoch(shard_of(replaced.cluster, first)) is None)
        assert replaced.host.node.activations.get(key_of(Balance, first)) is None
        assert [code(await replaced.call(first, method)) for method in ("add", "look")] == ["moving", "moving"]


@pytest.mark.requirement("CLU-2")
async def test_a_node_that_stops_answers_nothing_from_memory_once_its_lease_was_revoked() -> None:
    async with TwinCluster(Balance, lease_ttl_s=600.0) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        ids = [f"t{number}" for number in range(64)]
        mine = {shard_of(cluster, each): each for each in ids if cluster.owners()[shard_of(cluster, each)] == "a"}
        assert [value(await cluster.call(Balance, each, "add")) for each in mine.values()] == [1] * len(mine)
        host = cluster.hosts["a"]
        await host.keeper.stop()  # the shards are still open, as after a crash of the process
        await cluster.served("b")
        assert [value(await cluster.call(Balance, each, "add")) for each in mine.values()] == [2] * len(mine)
        replaced = Replaced(cluster, host, cluster.connect("a"), list(mine.values()))
        replies = [await replaced.call(each, "look") for each in replaced.objects]
        told = [code(reply) or f"the value {value(reply)}" for reply in replies]
        assert told == ["unavailable"] * len(replies)
        states = {shown(await replaced.read(each)) for each in replaced.objects}
        assert states <= {"the value 2", "unavailable", "moving"}
