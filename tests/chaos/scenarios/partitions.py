"""Networks that drop what node n1 says, what it is told, or both; for longer than its lease."""

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
    """The node does not hear of the others, and they do not hear of it; calls still reach it."""
    lease_ttl_s = stage.lease_ttl_s
    await _cut(stage, stage.processes.detours[NODE].etcd, lasts_s=stage.lasting(lease_ttl_s + 3, brief=lease_ttl_s + 1))


async def from_postgres(stage: Stage) -> None:
    """The node keeps its lease and cannot commit."""
    await _cut(stage, [stage.processes.detours[NODE].postgres], lasts_s=stage.lasting(8, brief=2))


async def from_callers(stage: Stage) -> None:
    """The node keeps its lease; neither gates nor nodes reach it."""
    await _cut(stage, [stage.processes.detours[NODE].calls], lasts_s=stage.lasting(12, brief=3))


async def _cut(stage: Stage, proxies: Sequence[TcpProxy], *, lasts_s: float) -> None:
    """Drop what goes one way, the other, and both; what was held arrives late, or never."""
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
            calls = [asyncio.create_task(stage.load.probe(shard)) for shard in shards]  # one to each of its shards
            await asyncio.sleep(lasts_s)  # nothing happens on the way that one could wait for
        await asyncio.gather(*calls)
        stage.tell(f"{kind} {lasts_s:g} s: {stage.load.tally.answered - answered} calls meanwhile")
        await stage.joined(NODE)


PARTITIONS = [
    Scenario("partition-etcd", "a node and etcd do not hear of each other", from_etcd, seconds=0, detoured=True),
    Scenario(
        "partition-postgres", "a node and PostgreSQL do not hear of each other", from_postgres, seconds=0, detoured=True
    ),
    Scenario(
        "partition-callers", "a node and its callers do not hear of each other", from_callers, seconds=0, detoured=True
    ),
]
