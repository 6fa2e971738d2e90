"""The shard count in etcd, and the number that the cluster was created with, in which ``shard#N`` ids count."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from goverse import Object, call
from goverse.cluster.keys import KeyLayout
from goverse.cluster.table import ShardTable
from goverse.cluster.view import ClusterView
from goverse.errors import ConfigError
from goverse.model.keys import ObjectKey
from goverse.ports.clock import SystemClock
from goverse.ports.coordinator import Put
from goverse.ports.memory_coordinator import MemoryCoordinator
from goverse.ports.memory_keys import MemoryKeys
from goverse.routing.cluster_watch import ClusterWatch
from tests.nodes import code, problem, until, value
from tests.twin_cluster import SHARDS, TwinCluster

pytestmark = [pytest.mark.requirement("CLU-2"), pytest.mark.requirement("OBJ-3")]

LAYOUT = KeyLayout("test")


class Tally(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value


@asynccontextmanager
async def watching(
    keys: MemoryKeys, count: int, base: int | None = None
) -> AsyncGenerator[tuple[ClusterWatch, ShardTable]]:
    """Follow the cluster as a node, which knows the base, or as a gate."""
    coordinator = MemoryCoordinator(keys)
    watch, table = ClusterWatch(coordinator, LAYOUT), ShardTable(count, base)

    def follow(view: ClusterView) -> None:
        table.update(view)

    watch.add(follow)
    try:
        await watch.start(count, base)
        yield watch, table
    finally:
        await watch.stop()
        await coordinator.close()


async def stored(keys: MemoryKeys) -> bytes | None:
    coordinator = MemoryCoordinator(keys)
    found = (await coordinator.read(LAYOUT.shards)).entries
    await coordinator.close()
    return found[0].value if found else None


async def write(keys: MemoryKeys, value: bytes) -> None:
    coordinator = MemoryCoordinator(keys)
    await coordinator.write([], [Put(LAYOUT.shards, value)])
    await coordinator.close()


async def test_a_node_adds_the_base_to_the_count_of_a_gate_that_started_first() -> None:
    keys = MemoryKeys(SystemClock())
    async with watching(keys, 128) as (_, gate):
        assert await stored(keys) == b"128"
        async with watching(keys, 128, 64):
            await until(lambda: gate.base == 64)
        assert await stored(keys) == b"128/64"
        keys.restore(None)
        async with watching(keys, 128) as (watch, _):
            await until(lambda: watch.view.base == 64)  # the gate has learnt it, and writes it again
        assert await stored(keys) == b"128/64"


@pytest.mark.parametrize("base", [16, 256])
async def test_a_base_in_etcd_that_is_not_the_one_in_the_database_is_refused(base: int) -> None:
    keys = MemoryKeys(SystemClock())
    await write(keys, b"128/64")
    with pytest.raises(ConfigError, match=f"created with 64 shards, according to the database with {base};"):
        async with watching(keys, 128, base):
            pytest.fail("a node with another base has joined")
    with pytest.raises(ConfigError, match=r"this cluster has 128 shards, but cluster\.shards is 64 here"):
        async with watching(keys, 64, 64):
            pytest.fail("a node with another count has joined")


async def test_a_running_process_keeps_its_state_when_etcd_holds_another_base(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = MemoryKeys(SystemClock())
    async with watching(keys, 128, 64) as (watch, table):
        kept = keys.backup()
        entry = kept.entries[LAYOUT.shards]
        keys.restore(kept._replace(entries={LAYOUT.shards: entry._replace(value=b"128/32")}))
        async with watching(keys, 128) as (other, _):
            await until(lambda: other.view.base == 32)
            await until(lambda: "etcd holds another cluster" in caplog.text)
        assert (watch.view.base, watch.view.histories, table.base) == (64, 0, 64)


@pytest.mark.parametrize("base", [SHARDS // 4, SHARDS, 2 * SHARDS])
async def test_objects_of_a_numbered_shard_are_where_their_part_of_all_hashes_is(base: int) -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0, base=base) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        await until(lambda: cluster.watch.view.base == base)
        for number in range(base):
            assert value(await cluster.call(Tally, f"shard#{number}/t", "add")) == 1
            key = ObjectKey("default", "Tally", f"shard#{number}/t")
            shard = number * SHARDS // base
            owner = cluster.owners()[shard]
            assert owner is not None
            activation = cluster.hosts[owner].node.activations.get(key)
            assert activation is not None
            assert activation.shard == shard
        refused = await cluster.call(Tally, f"shard#{base}/t", "add")
        assert (code(refused), problem(refused).detail.partition(";")[2]) == (
            "malformed_request",
            f" use a number from 0 to {base - 1}",
        )


async def test_objects_with_one_tag_are_on_one_node_whatever_their_type() -> None:
    class Line(Object):
        value: int = 0

        @call
        async def add(self) -> int:
            self.value += 1
            return self.value

    async with TwinCluster(Tally, Line, lease_ttl_s=30.0) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        for number in range(SHARDS):
            tag = f"{{order-{number}}}"
            for of, object_id in ((Tally, tag), (Line, f"{tag}/1"), (Line, f"{tag}/2"), (Tally, f"{tag}{{x}}")):
                assert value(await cluster.call(of, object_id, "add")) == 1
        homes: dict[str, set[tuple[str, int]]] = {}
        for name, host in cluster.hosts.items():
            for activation in host.node.activations:
                homes.setdefault(activation.key.id.partition("}")[0], set()).add((name, activation.shard))
        assert len(homes) == SHARDS
        assert all(len(home) == 1 for home in homes.values())
        assert len({name for home in homes.values() for name, _ in home}) > 1
