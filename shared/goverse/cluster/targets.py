"""Which node should own which shard: the leader's intent, one value for all shards.

Format 1: version byte; count of shards; count of nodes; the nodes' ids; one column, per shard 0 for nobody or
1 + the place of its node. 65 536 shards of 1 000 nodes take about 150 kB; etcd takes 1.5 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from goverse.cluster.columns import ColumnReader, ColumnWriter
from goverse.errors import DataNewer
from goverse.limits import CLUSTER_SHARDS_MAX

FORMAT: Final = 1


class Targets:
    """The intended owner of every shard; not changed once made."""

    __slots__ = ("indices", "nodes")

    def __init__(self, nodes: Sequence[str], indices: Iterable[int]) -> None:
        """Per shard: 0 for nobody, or 1 + the place of its node in ``nodes``."""
        self.nodes = tuple(nodes)
        self.indices = array("I", indices)

    @classmethod
    def nobody(cls, shard_count: int) -> Targets:
        """Return targets that leave every shard to nobody."""
        return cls((), [0] * shard_count)

    @classmethod
    def of(cls, owners: Sequence[str | None]) -> Targets:
        """Return targets from the owner of each shard."""
        nodes = sorted({owner for owner in owners if owner is not None})
        places: dict[str | None, int] = {node: place for place, node in enumerate(nodes, 1)}
        places[None] = 0
        return cls(nodes, (places[owner] for owner in owners))

    def __len__(self) -> int:
        """Return how many shards there are."""
        return len(self.indices)

    def __eq__(self, other: object) -> bool:
        """Tell whether both name the same owners."""
        return isinstance(other, Targets) and self.owners() == other.owners()

    def __hash__(self) -> int:
        """Hash by content."""
        return hash(tuple(self.owners()))

    def owner(self, shard: int) -> str | None:
        """Return who should own ``shard``; None for nobody, or where there is no such shard."""
        place = self.indices[shard] if shard < len(self.indices) else 0
        return self.nodes[place - 1] if place else None

    def owners(self) -> list[str | None]:
        """Return the owner of each shard."""
        names: list[str | None] = [None, *self.nodes]
        return [names[place] for place in self.indices]

    def shards_of(self, node: str) -> set[int]:
        """Return the shards that ``node`` should own."""
        if node not in self.nodes:
            return set()
        wanted = self.nodes.index(node) + 1
        return {shard for shard, place in enumerate(self.indices) if place == wanted}

    def encode(self) -> bytes:
        """Return the bytes for etcd."""
        writer = ColumnWriter(FORMAT)
        writer.number(len(self.indices))
        writer.number(len(self.nodes))
        for node in self.nodes:
            writer.text(node)
        writer.column(self.indices)
        return writer.value()

    @classmethod
    def decode(cls, value: bytes) -> Targets:
        """Read the bytes back.

        Raises:
            DataDamaged: they are not what ``encode`` wrote.
            DataNewer: a newer release wrote them.
        """
        reader = ColumnReader(value, "targets")
        version = reader.byte()
        if version > FORMAT:
            raise DataNewer(f"targets have format {version}; this release knows {FORMAT}")
        if version < FORMAT:
            raise reader.damaged(f"there is no format {version}")
        shard_count = reader.number()
        if shard_count > CLUSTER_SHARDS_MAX:
            raise reader.damaged(f"{shard_count} shards are more than {CLUSTER_SHARDS_MAX}")
        node_count = reader.number()
        if node_count > len(value):
            raise reader.damaged(f"it has no room for {node_count} nodes")
        nodes = [reader.text() for _ in range(node_count)]
        indices = reader.column(shard_count)
        reader.end()
        if len(set(nodes)) != len(nodes) or max(indices, default=0) > len(nodes):
            raise reader.damaged("a shard names a node that is not listed, or a node is listed twice")
        return cls(nodes, indices)
