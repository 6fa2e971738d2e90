"""The claims of one node: the shards that it serves, with their epochs, in one etcd value.

Format 1: version byte; incarnation; number of shards; smallest epoch; a column of shards in ascending order; a column
of epochs minus the smallest one. All 65 536 shards on one node take about 200 kB.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from goverse.cluster.columns import ColumnReader, ColumnWriter
from goverse.errors import DataNewer
from goverse.limits import CLUSTER_SHARDS_MAX, EPOCH_MAX

FORMAT: Final = 1


class Claims(NamedTuple):
    """The claims of one node.

    Attributes:
        incarnation: the process that made them.
        epochs: the epoch of each shard that the node serves.
    """

    incarnation: str
    epochs: Mapping[int, int]

    def encode(self) -> bytes:
        """Return the etcd value."""
        shards = sorted(self.epochs)
        least = min(self.epochs.values(), default=0)
        writer = ColumnWriter(FORMAT)
        writer.text(self.incarnation)
        writer.number(len(shards))
        writer.number(least)
        writer.column(shards)
        writer.column(self.epochs[shard] - least for shard in shards)
        return writer.value()

    @classmethod
    def decode(cls, value: bytes) -> Claims:
        """Parse an etcd value.

        Raises:
            DataDamaged: the value was not written by ``encode``.
            DataNewer: a newer release wrote it.
        """
        reader = ColumnReader(value, "claims")
        version = reader.byte()
        if version > FORMAT:
            raise DataNewer(f"claims have format {version}; this release supports formats up to {FORMAT}")
        if version < FORMAT:
            raise reader.damaged(f"unknown format {version}")
        incarnation = reader.text()
        count, least = reader.number(), reader.number()
        shards, above = reader.column(count), reader.column(count)
        reader.end()
        if any(left >= right for left, right in pairwise(shards)):
            raise reader.damaged("shards are not in ascending order")
        if shards and shards[-1] >= CLUSTER_SHARDS_MAX:
            raise reader.damaged(f"shard {shards[-1]} is out of range")
        if least + max(above, default=0) > EPOCH_MAX:
            raise reader.damaged("an epoch is out of range")
        return cls(incarnation, {shard: least + more for shard, more in zip(shards, above, strict=True)})
