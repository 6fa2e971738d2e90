"""Pause of calls during a shard move and during a failover, measured by callers that call continuously."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvloop

from benchmarks.cluster import Cluster
from goverse.cluster.keys import KeyLayout
from goverse.etcd.coordinator import EtcdCoordinator
from goverse.etcd.options import Endpoint, EtcdOptions
from goverse.limits import CLUSTER_SHARDS
from goverse.model.keys import ObjectKey, placement_hash, shard_at
from goverse.ports.coordinator import Put

CLUSTER = "goverse"  # the default of cluster.name
CALLERS = 16
MOVES = 12
SETTLE_S = 0.5


@dataclass
class Caller:
    """A caller that calls one object continuously."""

    name: str
    answers: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    failed: int = 0

    @property
    def shard(self) -> int:
        """The shard of the object."""
        return shard_at(placement_hash(ObjectKey("default", "Counter", self.name), CLUSTER_SHARDS), CLUSTER_SHARDS)

    def longest_s(self, since: float) -> float:
        """Return the duration of the longest call that ended after ``since``."""
        return max((took for ended, took in self.answers if ended >= since), default=0.0)

    async def run(self, url: str) -> None:
        """Call the object until cancelled, each call as soon as the previous one has ended."""
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /objects/Counter/{self.name}/call/increment HTTP/1.1\r\nHost: {host}:{port}\r\n"
        request = f"{head}Content-Length: 0\r\n\r\n".encode()
        try:
            while True:
                began = time.perf_counter()
                writer.write(request)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
                ended = time.perf_counter()
                self.answers.append((ended, ended - began))
                self.failed += not answer.startswith(b"HTTP/1.1 200")
        finally:
            writer.close()


@asynccontextmanager
async def _calling(url: str, names: str) -> AsyncIterator[list[Caller]]:
    callers = [Caller(f"{names}-{number}") for number in range(CALLERS)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(caller.run(url)) for caller in callers]
        await asyncio.sleep(1.0)
        yield callers
        for task in tasks:
            task.cancel()


def migration(running: Cluster) -> dict[str, float]:
    """Move shards between two nodes with pins, and return the pauses that callers saw."""
    return uvloop.run(_migration(running))


async def _migration(running: Cluster) -> dict[str, float]:
    coordinator, layout = EtcdCoordinator(EtcdOptions(endpoints=(Endpoint.parse(running.etcd),))), KeyLayout(CLUSTER)
    pauses: list[float] = []
    async with _calling(running.url, "moved") as callers:
        for caller in callers[:MOVES]:
            for node in ("n1", "n2"):  # one of the two pins moves the shard
                since = time.perf_counter()
                await coordinator.write([], [Put(layout.pin(caller.shard), node.encode())])
                await asyncio.sleep(SETTLE_S)
                pauses.append(caller.longest_s(since))
        failed = sum(caller.failed for caller in callers)
    await coordinator.close()
    moved = sorted(pauses)[MOVES:]
    return {
        "migration pause of a shard, median (ms)": statistics.median(moved) * 1e3,
        "migration pause of a shard, worst (ms)": max(moved) * 1e3,
        "failed calls while shards moved": float(failed),
    }


def failover(running: Cluster) -> dict[str, float]:
    """Kill one of two nodes, and return how long its objects were not served."""
    return uvloop.run(_failover(running))


async def _failover(running: Cluster) -> dict[str, float]:
    # New objects: the shards of the moved ones are pinned to one node, which may not be the one that is killed.
    async with _calling(running.url, "missed") as callers:
        since = time.perf_counter()
        running.kill("n1")
        await asyncio.to_thread(running.ready)
        while any(caller.answers[-1][0] < since for caller in callers):  # noqa: ASYNC110  # sixteen lists, once
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLE_S)
        longest = max(caller.longest_s(since) for caller in callers)
        failed = sum(caller.failed for caller in callers)
    return {"failover, the longest call (s)": longest, "failed calls during the failover": float(failed)}
