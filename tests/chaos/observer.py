"""Watches a cluster from outside, by what it writes into etcd: who is there, who leads, which shards moved and how long
nobody served them."""

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
    """Follows the claims.

    Attributes:
        moved: how often a shard got another owner than before.
        pauses_s: how long nobody claimed a shard, for each time that it moved.
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
        """Follow from now on."""
        self._watch.add(self._follow)
        await self._watch.start(len(self._table))
        self.moved = 0
        self.pauses_s.clear()

    async def stop(self) -> None:
        """Follow no more."""
        await self._watch.stop()
        await self.coordinator.close()

    @property
    def view(self) -> ClusterView:
        """What etcd says."""
        return self._watch.view

    @property
    def leader(self) -> str:
        """Who leads; empty while nobody does."""
        leader = self.view.leader
        return "" if leader is None else leader.value.decode().partition(" ")[0]

    def owners(self) -> Counter[str]:
        """Return how many shards each node serves."""
        return Counter(route.node for route in self._table.routes if route is not None)

    def address(self, node: str) -> str:
        """Return where a node takes calls."""
        return self.view.nodes[node].address

    def shards_of(self, node: str) -> list[int]:
        """Return the shards that a node serves."""
        return [shard for shard, route in enumerate(self._table.routes) if route is not None and route.node == node]

    def is_whole(self) -> bool:
        """Tell whether every shard is served by a node that is registered."""
        return self.owners().total() == len(self._table)

    def is_even(self, nodes: int) -> bool:
        """Tell whether so many nodes serve all shards, each at least four fifths of its share."""
        owners = self.owners()
        least = 0.8 * len(self._table) / nodes
        return self.is_whole() and len(owners) == nodes and min(owners.values()) >= least

    async def until(self, condition: Callable[[], bool], what: str, patience_s: float = 60.0) -> None:
        """Wait for something that the cluster shows.

        Raises:
            AssertionError: it does not come true.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not condition():  # noqa: ASYNC110  # told by another process
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
