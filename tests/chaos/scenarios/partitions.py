"""Scenarios of network partitions: traffic of node n1 is dropped, one way or both, for longer than its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from tests.chaos.scenario import Scenario
from tests.chaos.stage import Stage, interrupted
from tests.tcp_proxy import TcpProxy, Way

NODE: Final = "n1"
KINDS: Final[dict[str, tuple[Way, ...]]] = {
    "both ways": (Way.THERE, Way.BACK),
    "there only": (Way.THERE,),
    "back only": (Way.BACK,),
}


async def from_etcd(stage: Stage) -> None:
    """Separate the node from etcd, so that it and the other nodes cannot see each other; calls still reach it."""
    lease_ttl_s = stage.lease_ttl_s
    await _cut(stage, stage.processes.detours[NODE].etcd, lasts_s=stage.lasting(lease_ttl_s + 3, brief=lease_ttl_s + 1))


async def from_postgres(stage: Stage) -> None:
    """Separate the node from PostgreSQL: it keeps its lease and cannot commit."""
    await _cut(stage, stage.processes.detours[NODE].postgres, lasts_s=stage.lasting(8, brief=2))


async def from_callers(stage: Stage) -> None:
    """Separate the node from its callers: it keeps its lease, but gates and nodes cannot reach it."""
    await _cut(stage, [stage.processes.detours[NODE].calls], lasts_s=stage.lasting(12, brief=3))


async def _cut(stage: Stage, proxies: Sequence[TcpProxy], *, lasts_s: float) -> None:
    """Drop traffic in one direction, the other, and both; held-back data is delivered late or never."""
    for number, (kind, ways) in enumerate(KINDS.items()):
        arrives = number % 2 == 0
        answered, shards = stage.load.tally.answered, stage.observer.shards_of(NODE)

        def begin(ways: tuple[Way, ...] = ways) -> None:
            for proxy in proxies:
                proxy.hold(*ways)

        def end(arrives: bool = arrives) -> None:
            for proxy in proxies:
                if not arrives:
                    proxy.cut()
                proxy.release()

        async with interrupted(begin, end):
            calls = [asyncio.create_task(stage.load.probe(shard)) for shard in shards]  # one call to each of its shards
            await asyncio.sleep(lasts_s)  # there is no event to wait for
        await asyncio.gather(*calls)
        stage.tell(f"{kind} {lasts_s:g} s: {stage.load.tally.answered - answered} calls during it")
        await stage.joined(NODE)


PARTITIONS = [
    Scenario("partition-etcd", "a node is disconnected from etcd", from_etcd, seconds=0, detoured=True),
    Scenario("partition-postgres", "a node is disconnected from PostgreSQL", from_postgres, seconds=0, detoured=True),
    Scenario("partition-callers", "a node is disconnected from its callers", from_callers, seconds=0, detoured=True),
]
