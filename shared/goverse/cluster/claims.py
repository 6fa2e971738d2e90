"""What one node says it serves: shards with their epochs, one value per node however many they are.

Format 1: version byte; incarnation; count of shards; the smallest epoch; a column of shards, ascending; a column of
epochs above the smallest. All 65 536 shards on one node take about 200 kB.
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
        epochs: per shard that it serves, the epoch.
    """

    incarnation: str
    epochs: Mapping[int, int]

    def encode(self) -> bytes:
        """Return the bytes for etcd."""
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
        """Read the bytes back.

        Raises:
            DataDamaged: they are not what ``encode`` wrote.
            DataNewer: a newer release wrote them.
        """
        reader = ColumnReader(value, "claims")
        version = reader.byte()
        if version > FORMAT:
            raise DataNewer(f"claims have format {version}; this release knows {FORMAT}")
        if version < FORMAT:
            raise reader.damaged(f"there is no format {version}")
        incarnation = reader.text()
        count, least = reader.number(), reader.number()
        shards, above = reader.column(count), reader.column(count)
        reader.end()
        if any(left >= right for left, right in pairwise(shards)):
            raise reader.damaged("shards are not in ascending order")
        if shards and shards[-1] >= CLUSTER_SHARDS_MAX:
            raise reader.damaged(f"there is no shard {shards[-1]}")
        if least + max(above, default=0) > EPOCH_MAX:
            raise reader.damaged("an epoch is out of range")
        return cls(incarnation, {shard: least + more for shard, more in zip(shards, above, strict=True)})
