"""Load reports from a node to the leader, measured every few seconds and written to etcd when they have changed.

Rules:

1. Each node writes one small value under its lease, at most every ``LOAD_PAUSE_S``. In large clusters the interval is
   longer, so that all nodes together write at most ``LOADS_PER_S_MAX`` times a second, because each write reaches every
   process.
2. Small fluctuations are not written. The planner uses the figures in coarse steps.
3. Under a new lease the figures are written again, because the old value was deleted with the old lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from heapq import nlargest
from typing import Final, Protocol

from goverse.cluster.lease import Lease
from goverse.cluster.member import Load
from goverse.cluster.view import ClusterView
from goverse.errors import GoverseError
from goverse.limits import LOAD_PAUSE_S, LOADS_PER_S_MAX
from goverse.ports.coordinator import Coordinator, Put
from goverse_node.node import Node
from goverse_node.runtime.shard_counters import ShardReader

BUSIEST_MAX: Final = 8
"""Number of shards that a report names. The leader moves no more of one node's shards because of load in a round."""

_SHARE: Final = 0.05  # of processor or memory
_PART: Final = 0.2  # of any other figure
_FEW_OBJECTS: Final = 500
_FEW_CALLS: Final = 20.0

logger = logging.getLogger("goverse.node.ownership")

Measure = Callable[[float], Load]
"""Returns the load since the last call; the argument is the current time."""


class Gauges(Protocol):
    """Source of processor and memory figures."""

    def processor(self) -> float:
        """Return the share of processor time that was used since the last call."""
        ...

    def memory(self) -> float:
        """Return the share of memory that is used now."""
        ...


class LoadMeter:
    """Measures the load of a node."""

    def __init__(self, node: Node, gauges: Gauges) -> None:
        self._node = node
        self._shards = ShardReader(node.shard_counters)
        self._gauges = gauges
        self._at: float | None = None

    def __call__(self, now: float) -> Load:
        """Return the load since the last call."""
        grown = self._shards.read()
        elapsed_s = max(now - self._at, 1e-3) if self._at is not None else float("inf")
        self._at = now
        rates = {shard: counts.calls / elapsed_s for shard, counts in grown.items()}
        busiest = {shard: round(rates[shard], 1) for shard in nlargest(BUSIEST_MAX, rates, key=rates.__getitem__)}
        return Load(
            len(self._node.activations),
            round(sum(rates.values()), 1),
            round(self._gauges.processor(), 2),
            round(self._gauges.memory(), 2),
            {shard: rate for shard, rate in busiest.items() if rate >= 1.0},
        )


class LoadReports:
    """Decides when a load is written."""

    def __init__(self) -> None:
        self._written: Load | None = None
        self._lease_id: int | None = None
        self._at = float("-inf")

    def due(self, load: Load, lease_id: int, now: float, *, nodes: int) -> bool:
        """Return True if ``load`` should be written now, in a cluster of ``nodes`` nodes."""
        if self._written is None or lease_id != self._lease_id:
            return True
        return now - self._at >= pause_s(nodes) and differs(self._written, load)

    def written(self, load: Load, lease_id: int, now: float) -> None:
        """Record a write."""
        self._written, self._lease_id, self._at = load, lease_id, now


def pause_s(nodes: int) -> float:
    """Return the least time between two writes of a node, in a cluster of ``nodes`` nodes."""
    return max(LOAD_PAUSE_S, nodes / LOADS_PER_S_MAX)


def differs(before: Load, after: Load) -> bool:
    """Return True if two loads differ enough to change a plan."""
    if abs(before.processor - after.processor) >= _SHARE or abs(before.memory - after.memory) >= _SHARE:
        return True
    if _apart(before.activations, after.activations, _FEW_OBJECTS):
        return True
    shards = before.busiest.keys() | after.busiest.keys()
    return _apart(before.calls_per_s, after.calls_per_s, _FEW_CALLS) or any(
        _apart(
            before.busiest.get(shard, 0.0), after.busiest.get(shard, 0.0), max(_FEW_CALLS, _PART * after.calls_per_s)
        )
        for shard in shards
    )


def _apart(before: float, after: float, few: float) -> bool:
    return abs(before - after) > max(few, _PART * max(before, after))


class LoadPublisher:
    """Writes the load of a node to etcd.

    Attributes:
        writes: the number of writes.
    """

    def __init__(
        self, coordinator: Coordinator, view: ClusterView, lease: Lease, *, node: str, now: Callable[[], float]
    ) -> None:
        """Write under ``lease`` while it is alive; ``now`` is the clock of the lease."""
        self.writes = 0
        self._coordinator = coordinator
        self._view = view
        self._lease = lease
        self._now = now
        self._key = view.layout.load(node)
        self._reports = LoadReports()

    async def run(self, measure: Measure, period_s: float = LOAD_PAUSE_S) -> None:
        """Measure and write until cancelled."""
        now = self._now
        measure(now())
        while True:
            await asyncio.sleep(period_s)
            try:
                await self.publish(measure(now()), now())
            except Exception:
                logger.exception("error while reporting the node's load")

    async def publish(self, load: Load, now: float) -> None:
        """Write ``load`` if it is due."""
        lease_id = self._lease.id
        if lease_id is None or not self._lease.alive(now):
            return
        if not self._reports.due(load, lease_id, now, nodes=len(self._view.nodes)):
            return
        try:
            await self._coordinator.write([], [Put(self._key, load.encode(), lease_id)])
        except GoverseError as error:
            logger.info("the node's load was not written", extra={"reason": error.detail})
        else:
            self.writes += 1
            self._reports.written(load, lease_id, now)
