"""A store that lost acknowledged calls: nodes drop their activations and claim their shards again."""

from __future__ import annotations

from copy import deepcopy

import pytest

from goverse import Object, call
from tests.nodes import until, value
from tests.twin_cluster import SHARDS, TwinCluster

pytestmark = pytest.mark.requirement("DUR-1", "CLU-2")


class Tally(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value

    @call(readonly=True)
    async def look(self) -> int:
        return self.value


async def test_a_node_forgets_what_the_store_lost_and_serves_on() -> None:
    async with TwinCluster(Tally) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        names = [f"shard#{shard}/n" for shard in range(SHARDS)]
        for name in names:
            assert value(await cluster.call(Tally, name, "add")) == 1
        saved = deepcopy(cluster.store._table)
        for name in names:
            assert value(await cluster.call(Tally, name, "add")) == 2
        before = {shard: held.epoch for shard, held in (await cluster.store.holdings()).items()}

        cluster.store._table = saved
        for host in cluster.hosts.values():
            host.keeper.reclaim()
        for name in names:
            assert value(await cluster.call(Tally, name, "look")) == 1
        for name in names:
            assert value(await cluster.call(Tally, name, "add")) == 2
        await until(lambda: None not in cluster.owners())
        after = {shard: held.epoch for shard, held in (await cluster.store.holdings()).items()}
        assert all(after[shard] > before[shard] for shard in before)
