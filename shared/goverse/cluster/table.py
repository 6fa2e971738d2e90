"""Where calls go: shard → who serves it, as the claims in etcd say.

Where two nodes claim a shard the higher epoch counts. A node that claims but is not registered has no address and is
not a route. Whoever waits for a shard is told once, when the shard's route is another one than before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from goverse.cluster.view import ClusterView

RouteWatcher = Callable[[], None]

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
        self._claimants: list[dict[str, int]] = [{} for _ in range(shard_count)]
        self._addresses: dict[str, str] = {}
        self._seen: tuple[ClusterView, int, int, int] | None = None
        self._watchers: dict[int, list[RouteWatcher]] = {}

    def __len__(self) -> int:
        """Return how many shards there are."""
        return len(self.routes)

    def route(self, shard: int) -> Route | None:
        """Return who serves ``shard``; None while nobody does."""
        return self.routes[shard]

    def wait(self, shard: int, watcher: RouteWatcher) -> None:
        """Have ``watcher`` told once, when the route of ``shard`` changes."""
        self._watchers.setdefault(shard, []).append(watcher)

    def forget(self, shard: int, watcher: RouteWatcher) -> None:
        """Take back a ``wait``; without effect where the watcher was told."""
        waiting = self._watchers.get(shard, [])
        if watcher in waiting:
            waiting.remove(watcher)
        if not waiting:
            self._watchers.pop(shard, None)

    def update(self, view: ClusterView) -> set[int]:
        """Follow ``view``; tell who waits; return the shards whose route changed."""
        seen = view, view.reloads, view.members_revision, view.claims_revision
        if seen == self._seen:
            return set()
        self._seen = seen
        touched: set[int] = set()
        for node in self._claims.keys() | view.claims.keys():
            member = view.nodes.get(node)
            before = self._claims.get(node, _NOTHING)
            after = view.claims[node].epochs if node in view.claims and member is not None else _NOTHING
            if member is not None and self._addresses.get(node) != member.address:
                self._addresses[node] = member.address
                touched |= before.keys()
            if after is not before:
                touched |= self._take(node, before, after)
        changed = self._choose({shard for shard in touched if shard < len(self.routes)})
        self.changes += bool(changed)
        self._tell(changed)
        return changed

    def _take(self, node: str, before: Mapping[int, int], after: Mapping[int, int]) -> set[int]:
        """Note another claim of ``node``; return the shards for which it says something else."""
        touched = {shard for shard, _ in before.items() ^ after.items()}
        for shard in touched:
            if shard >= len(self.routes):
                continue  # of a cluster with more shards than this process is set to
            claimants = self._claimants[shard]
            if shard in after:
                claimants[node] = after[shard]
            else:
                claimants.pop(node, None)
        if after:
            self._claims[node] = after
        else:
            self._claims.pop(node, None)
        return touched

    def _choose(self, touched: set[int]) -> set[int]:
        changed: set[int] = set()
        for shard in touched:
            claimants = self._claimants[shard]
            best = max(claimants, key=lambda node: (claimants[node], node), default=None)
            route = Route(best, claimants[best], self._addresses[best]) if best is not None else None
            if route != self.routes[shard]:
                self.routes[shard] = route
                changed.add(shard)
        return changed

    def _tell(self, changed: set[int]) -> None:
        told = [watcher for shard in sorted(changed & self._watchers.keys()) for watcher in self._watchers.pop(shard)]
        for watcher in told:
            watcher()
