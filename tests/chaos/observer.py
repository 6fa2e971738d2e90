"""Observer of a cluster through its keys in etcd: nodes, leader, moves of shards, and the time without an owner."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from goverse.cluster.keys import KeyLayout
from goverse.cluster.table import Route, ShardTable
from goverse.cluster.view import ClusterView
from goverse.etcd.coordinator import EtcdCoordinator
from goverse.etcd.options import Endpoint, EtcdOptions
from goverse.routing.cluster_watch import ClusterWatch

POLL_S = 0.02


class Observer:
    """Watches the claims of shards.

    Attributes:
        moved: number of times that a shard got another owner.
        pauses_s: time without a claim, for each move of a shard.
    """

    def __init__(self, endpoints: list[str], shards: int) -> None:
        self.moved = 0
        self.pauses_s: list[float] = []
        self.coordinator = EtcdCoordinator(EtcdOptions(endpoints=tuple(map(Endpoint.parse, endpoints))))
        self._watch = ClusterWatch(self.coordinator, KeyLayout("goverse"))
        self._table = ShardTable(shards)
        self._owners: list[str] = [""] * shards
        self._left_at: dict[int, float] = {}

    async def start(self) -> None:
        """Start to watch."""
        self._watch.add(self._follow)
        await self._watch.start(len(self._table))
        self.moved = 0
        self.pauses_s.clear()

    async def stop(self) -> None:
        """Stop watching."""
        await self._watch.stop()
        await self.coordinator.close()

    @property
    def view(self) -> ClusterView:
        """The current view of the cluster."""
        return self._watch.view

    @property
    def leader(self) -> str:
        """The name of the leader, or an empty text if there is none."""
        leader = self.view.leader
        return "" if leader is None else leader.value.decode().partition(" ")[0]

    def owners(self) -> Counter[str]:
        """Return the number of shards that each node serves."""
        return Counter(route.node for route in self._table.routes if route is not None)

    def address(self, node: str) -> str:
        """Return the address at which a node accepts calls."""
        return self.view.nodes[node].address

    def shards_of(self, node: str) -> list[int]:
        """Return the shards that a node serves."""
        return [shard for shard, route in enumerate(self._table.routes) if route is not None and route.node == node]

    def is_whole(self) -> bool:
        """Return True if every shard is served by a registered node."""
        return self.owners().total() == len(self._table)

    def is_even(self, nodes: int) -> bool:
        """Return True if this number of nodes serves all shards, each at least four fifths of its fair share."""
        owners = self.owners()
        least = 0.8 * len(self._table) / nodes
        return self.is_whole() and len(owners) == nodes and min(owners.values()) >= least

    async def until(self, condition: Callable[[], bool], what: str, patience_s: float = 60.0) -> None:
        """Wait for a condition of the cluster.

        Raises:
            AssertionError: the condition does not become true in time.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not condition():  # noqa: ASYNC110  # another process changes it
                    await asyncio.sleep(POLL_S)
                return
        raise AssertionError(f"{what} was not seen within {patience_s:g} s; shards by owner: {dict(self.owners())}")

    def _follow(self, view: ClusterView) -> None:
        now = asyncio.get_running_loop().time()
        for shard in self._table.update(view):
            self._note(shard, self._table.routes[shard], now)

    def _note(self, shard: int, route: Route | None, now: float) -> None:
        if route is None:
            self._left_at[shard] = now
            return
        left_at = self._left_at.pop(shard, now)
        if route.node != self._owners[shard]:
            if self._owners[shard]:
                self.moved += 1
                self.pauses_s.append(now - left_at)
            self._owners[shard] = route.node
