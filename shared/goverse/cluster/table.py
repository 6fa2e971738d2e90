"""Where calls go: shard → who serves it, as the claims in etcd say.

Where two nodes claim a shard the higher epoch counts. A node that claims but is not registered has no address and is
not a route. Whoever waits for a shard is told once, when the shard's route is another one than before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from goverse.cluster.view import ClusterView

Waiter = Callable[[], None]

_NOTHING: Mapping[int, int] = {}


class Route(NamedTuple):
    """Who serves a shard, since which claim, and where."""

    node: str
    epoch: int
    address: str


class ShardTable:
    """The routes of all shards.

    Attributes:
        routes: per shard its route, or None; read it, do not change it.
        changes: grows with every update that changed a route.
    """

    def __init__(self, shard_count: int) -> None:
        """Know no route yet."""
        self.routes: list[Route | None] = [None] * shard_count
        self.changes = 0
        self._claims: dict[str, Mapping[int, int]] = {}
        self._addresses: dict[str, str] = {}
        self._waiters: dict[int, list[Waiter]] = {}

    def __len__(self) -> int:
        """Return how many shards there are."""
        return len(self.routes)

    def route(self, shard: int) -> Route | None:
        """Return who serves ``shard``; None while nobody does."""
        return self.routes[shard]

    def wait(self, shard: int, waiter: Waiter) -> None:
        """Have ``waiter`` told once, when the route of ``shard`` changes."""
        self._waiters.setdefault(shard, []).append(waiter)

    def forget(self, shard: int, waiter: Waiter) -> None:
        """Take back a ``wait``; without effect where the waiter was told."""
        waiting = self._waiters.get(shard, [])
        if waiter in waiting:
            waiting.remove(waiter)
        if not waiting:
            self._waiters.pop(shard, None)

    def update(self, view: ClusterView) -> set[int]:
        """Follow ``view``; tell who waits; return the shards whose route changed."""
        touched: set[int] = set()
        for node in self._claims.keys() | view.claims.keys() | view.nodes.keys():
            member = view.nodes.get(node)
            before = self._claims.get(node, _NOTHING)
            after = view.claims[node].epochs if node in view.claims and member is not None else _NOTHING
            if member is not None and self._addresses.get(node) != member.address:
                self._addresses[node] = member.address
                touched |= before.keys()
            if after is not before:
                touched |= {shard for shard, _ in before.items() ^ after.items()}
                if after:
                    self._claims[node] = after
                else:
                    self._claims.pop(node, None)
        changed = self._follow({shard for shard in touched if shard < len(self.routes)})
        self.changes += bool(changed)
        self._tell(changed)
        return changed

    def _follow(self, touched: set[int]) -> set[int]:
        best: dict[int, tuple[int, str]] = {}
        for node, epochs in self._claims.items():
            for shard in touched & epochs.keys() if len(touched) < len(epochs) else epochs.keys() & touched:
                best[shard] = max(best.get(shard, (0, "")), (epochs[shard], node))
        changed: set[int] = set()
        for shard in touched:
            epoch, node = best.get(shard, (0, ""))
            route = Route(node, epoch, self._addresses[node]) if node else None
            if route != self.routes[shard]:
                self.routes[shard] = route
                changed.add(shard)
        return changed

    def _tell(self, changed: set[int]) -> None:
        told = [waiter for shard in sorted(changed & self._waiters.keys()) for waiter in self._waiters.pop(shard)]
        for waiter in told:
            waiter()
