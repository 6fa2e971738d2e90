"""The shard targets: the owner that the leader intends for each shard, in one etcd value.

Format 1: version byte; number of shards; number of nodes; the nodes' ids; one column with an entry per shard: 0 for no
owner, or 1 + the index of its node. 65 536 shards on 1 000 nodes take about 150 kB; etcd's limit is 1.5 MB.
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
    """The intended owner of every shard. Immutable."""

    __slots__ = ("indices", "nodes")

    def __init__(self, nodes: Sequence[str], indices: Iterable[int]) -> None:
        """Take one entry per shard: 0 for no owner, or 1 + the index of its node in ``nodes``."""
        self.nodes = tuple(nodes)
        self.indices = array("I", indices)

    @classmethod
    def empty(cls, shard_count: int) -> Targets:
        """Return targets without any owner."""
        return cls((), [0] * shard_count)

    @classmethod
    def of(cls, owners: Sequence[str | None]) -> Targets:
        """Return targets with the given owner of each shard."""
        nodes = sorted({owner for owner in owners if owner is not None})
        places: dict[str | None, int] = {node: place for place, node in enumerate(nodes, 1)}
        places[None] = 0
        return cls(nodes, (places[owner] for owner in owners))

    def __len__(self) -> int:
        """Return the number of shards."""
        return len(self.indices)

    def __eq__(self, other: object) -> bool:
        """True if both name the same owner for every shard."""
        return isinstance(other, Targets) and self.owners() == other.owners()

    def __hash__(self) -> int:
        return hash(tuple(self.owners()))

    def owner(self, shard: int) -> str | None:
        """Return the intended owner of ``shard``; None if it has none or does not exist."""
        place = self.indices[shard] if shard < len(self.indices) else 0
        return self.nodes[place - 1] if place else None

    def owners(self) -> list[str | None]:
        """Return the intended owner of each shard."""
        names: list[str | None] = [None, *self.nodes]
        return [names[place] for place in self.indices]

    def shards_of(self, node: str) -> set[int]:
        """Return the shards intended for ``node``."""
        if node not in self.nodes:
            return set()
        wanted = self.nodes.index(node) + 1
        return {shard for shard, place in enumerate(self.indices) if place == wanted}

    def encode(self) -> bytes:
        """Return the etcd value."""
        writer = ColumnWriter(FORMAT)
        writer.number(len(self.indices))
        writer.number(len(self.nodes))
        for node in self.nodes:
            writer.text(node)
        writer.column(self.indices)
        return writer.value()

    @classmethod
    def decode(cls, value: bytes) -> Targets:
        """Parse an etcd value.

        Raises:
            DataDamaged: the value was not written by ``encode``.
            DataNewer: a newer release wrote it.
        """
        reader = ColumnReader(value, "targets")
        version = reader.byte()
        if version > FORMAT:
            raise DataNewer(f"targets have format {version}; this release supports formats up to {FORMAT}")
        if version < FORMAT:
            raise reader.damaged(f"unknown format {version}")
        shard_count = reader.number()
        if shard_count > CLUSTER_SHARDS_MAX:
            raise reader.damaged(f"{shard_count} shards exceed the limit of {CLUSTER_SHARDS_MAX}")
        node_count = reader.number()
        if node_count > len(value):
            raise reader.damaged(f"it is too short for {node_count} nodes")
        nodes = [reader.text() for _ in range(node_count)]
        indices = reader.column(shard_count)
        reader.end()
        if len(set(nodes)) != len(nodes) or max(indices, default=0) > len(nodes):
            raise reader.damaged("a shard has an unknown node, or a node is listed twice")
        return cls(nodes, indices)
