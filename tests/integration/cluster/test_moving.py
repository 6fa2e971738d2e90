"""One-off move of a shard, by a pin that ends with the move."""

from __future__ import annotations

import asyncio

import pytest

from goverse import Object, call
from goverse_cli.cluster.moving import move
from goverse_cli.failure import Failure
from goverse_node.ownership.situation import Reason
from tests.nodes import until, value
from tests.twin_cluster import TwinCluster

pytestmark = pytest.mark.requirement("CLU-3", "CLU-4")


class Tally(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value


async def moved(cluster: TwinCluster, shard: int, node: str, timeout_s: float = 10.0) -> str | None:
    return (await move(cluster.coordinator, cluster.layout, shard, node, timeout_s=timeout_s)).source


async def test_a_shard_moves_under_calls_and_leaves_no_pin_behind() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        shard = cluster.owners().index("a")
        moving = asyncio.create_task(moved(cluster, shard, "b"))
        count = 0
        while not moving.done():
            count += 1
            assert value(await cluster.call(Tally, f"shard#{shard}/t", "add")) == count
        assert await moving == "a"
        await until(lambda: not cluster.watch.view.pins)
        assert cluster.owners()[shard] == "b"
        assert await moved(cluster, shard, "b") == "b"
        reasons = [host.keeper.leader.reasons[Reason.PIN] for host in cluster.hosts.values()]
        assert sum(reasons) == 1


async def test_a_move_that_cannot_be_says_why_and_leaves_nothing_behind() -> None:
    async with TwinCluster(Tally, lease_ttl_s=30.0) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        shard = cluster.owners().index("a")
        with pytest.raises(Failure, match=r"did not move to c within 0\.5 s: the leader has not planned it"):
            await moved(cluster, shard, "c", timeout_s=0.5)
        await until(lambda: not cluster.watch.view.pins)
        pinning = asyncio.create_task(moved(cluster, shard, "c", timeout_s=5.0))
        await until(lambda: bool(cluster.watch.view.pins))
        with pytest.raises(Failure, match=f"shard {shard} is pinned to c"):
            await moved(cluster, shard, "b")
        pinning.cancel()
        await until(lambda: not cluster.watch.view.pins)
        assert cluster.owners()[shard] == "a"
