"""The shard table: the shard of each object, and the route to the owner of each shard, computed from etcd.

If two nodes claim a shard, the higher epoch wins. A node that claims but is not registered has no address, so it is not
a route.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from goverse.cluster.view import ClusterView
from goverse.model.keys import ObjectKey, placement_hash, shard_at

_NOTHING: Mapping[int, int] = {}


class Route(NamedTuple):
    """The route to a shard: its owner, the epoch of the owner's claim, and the owner's address."""

    node: str
    epoch: int
    address: str


class ShardTable:
    """The routes of all shards.

    Attributes:
        routes: the route of each shard, or None; read-only for callers.
        base: the number of shards that the cluster was created with, in which ``shard#N`` ids count. Until it is known
            the present number is used. Only a gate can be in that state, and a node refuses a call for a wrong shard.
        changes: a counter that grows with every update that changed a route.
    """

    def __init__(self, shard_count: int, base: int | None = None) -> None:
        """Begin without routes. Without ``base`` it is taken from the first view that has it."""
        self.routes: list[Route | None] = [None] * shard_count
        self.changes = 0
        self.base = base or shard_count
        self._base_known = base is not None
        self._claims: dict[str, Mapping[int, int]] = {}
        self._claimants: list[dict[str, int]] = [{} for _ in range(shard_count)]
        self._addresses: dict[str, str] = {}
        self._seen: tuple[ClusterView, int, int, int] | None = None

    def __len__(self) -> int:
        """Return the number of shards."""
        return len(self.routes)

    def route(self, shard: int) -> Route | None:
        """Return the route of ``shard``; None while it has no owner."""
        return self.routes[shard]

    def shard_of(self, key: ObjectKey) -> int:
        """Return the shard of an object.

        Raises:
            MalformedRequest: the id names a shard that does not exist.
        """
        return shard_at(placement_hash(key, self.base), len(self.routes))

    def update(self, view: ClusterView) -> set[int]:
        """Apply ``view`` and return the shards whose route changed."""
        if not self._base_known and view.base is not None:
            self.base, self._base_known = view.base, True
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
        return changed

    def _take(self, node: str, before: Mapping[int, int], after: Mapping[int, int]) -> set[int]:
        """Record new claims of ``node``; returns the shards whose claim differs."""
        touched = {shard for shard, _ in before.items() ^ after.items()}
        for shard in touched:
            if shard >= len(self.routes):
                continue  # the cluster has more shards than this process is configured for
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
