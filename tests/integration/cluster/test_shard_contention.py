"""Shards that move back and forth under calls: no deadlock, and no shard is held longer than its bound."""

from __future__ import annotations

import asyncio
import random

import pytest

from goverse import Object, call
from goverse.ports.coordinator import Delete, Put
from goverse_node.ownership.phases import OwnershipLimits
from tests.nodes import code, until, value
from tests.twin_cluster import SHARDS, TwinCluster

pytestmark = pytest.mark.requirement("CLU-8")

LIMITS = OwnershipLimits(claim_retry_s=0.02, close_budget_s=0.2, stuck_after_s=0.8)
CALLERS = 24
PULLS = 60


class Tally(Object):
    value: int = 0

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value

    @call
    async def hang(self) -> int:
        self.value += 1
        await asyncio.Event().wait()
        return self.value

    @call
    async def cling(self) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)  # slow, but it ends
        return self.value


async def test_shards_pulled_to_and_fro_under_calls_that_do_not_end_are_held_for_a_bounded_time() -> None:
    dice = random.Random(8)
    async with TwinCluster(Tally, limits=LIMITS, lease_ttl_s=30.0) as cluster:
        await cluster.join("a", "b", "c")
        await cluster.served("a", "b", "c")
        done = asyncio.Event()
        callers = [asyncio.create_task(_call(cluster, number, done)) for number in range(CALLERS)]
        nuisance = asyncio.create_task(_bother(cluster, dice, done))
        for _ in range(PULLS):
            shard, node = dice.randrange(SHARDS), dice.choice("abc")
            await cluster.coordinator.write([], [Put(cluster.layout.pin(shard), node.encode())])
            await asyncio.sleep(0.01)  # about as fast as the leader plans
        for shard in range(SHARDS):
            await cluster.coordinator.write([], [Delete(cluster.layout.pin(shard))])
        done.set()
        counts = await asyncio.gather(*callers)
        assert await nuisance > 0
        await until(lambda: None not in cluster.owners())
        for number, count in enumerate(counts):
            assert value(await cluster.call(Tally, f"shard#{number % SHARDS}/{number}", "add")) == count + 1
        times = [host.keeper.requests.times for host in cluster.hosts.values()]
        assert sum(each.durations.count("shard_close") for each in times) > 0
        assert (
            max(each.longest_close_s for each in times) < LIMITS.stuck_after_s + 10.0
        )  # far more than the delay of a busy machine


async def _call(cluster: TwinCluster, number: int, done: asyncio.Event) -> int:
    """Call an object repeatedly. Each result must be the next number."""
    count = 0
    while not done.is_set():
        reply = await cluster.call(Tally, f"shard#{number % SHARDS}/{number}", "add", timeout_s=30.0)
        count += 1
        assert value(reply) == count
    return count


async def _bother(cluster: TwinCluster, dice: random.Random, done: asyncio.Event) -> int:
    """Start turns that never end by themselves."""
    answered = 0
    while not done.is_set():
        target = f"shard#{dice.randrange(SHARDS)}/bother-{dice.randrange(100)}"
        reply = await cluster.call(Tally, target, dice.choice(["hang", "cling"]), timeout_s=0.3)
        assert code(reply) in ("timeout", "unavailable", "")
        answered += 1
    return answered


async def test_a_claim_that_the_store_does_not_answer_is_given_up_and_tried_again() -> None:
    async with TwinCluster(Tally, limits=LIMITS, lease_ttl_s=30.0) as cluster:
        held = asyncio.Event()
        claim, asked = cluster.store.claim, 0

        async def slow(shards: list[int], owner: str) -> object:
            nonlocal asked
            asked += 1
            if asked == 1:
                await held.wait()
            return await claim(shards, owner)

        cluster.store.claim = slow  # type: ignore[method-assign,assignment]
        await cluster.join("a")
        await cluster.served("a")
        assert asked >= 2
        assert cluster.hosts["a"].keeper.requests.times.timeouts.counts["shard_claim"] == asked - 1
