"""``ShardCount``: the value of the key ``shards`` in etcd.

``shard#N`` ids count in the base, the number of shards that the cluster was created with (``goverse.model.keys``). The
database records it, so only nodes know it from the start. A gate that finds the key missing writes the count alone, and
the next node adds the base.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from goverse.errors import DataDamaged

_VALUE: Final = re.compile(rb"([1-9][0-9]{0,8})(?:/([1-9][0-9]{0,8}))?")


@dataclass(frozen=True, slots=True)
class ShardCount:
    """The number of shards of a cluster, and the number that it was created with; None if no node has written it."""

    count: int
    base: int | None

    def encode(self) -> bytes:
        """Return the value in etcd: ``128/64``, or ``128`` without a base."""
        return b"%d" % self.count if self.base is None else b"%d/%d" % (self.count, self.base)

    def agrees(self, other: ShardCount) -> bool:
        """Return True if both may describe the same cluster: an unknown base agrees with any."""
        return self.count == other.count and (self.base == other.base or None in (self.base, other.base))

    @classmethod
    def decode(cls, value: bytes) -> ShardCount:
        """Return the inverse of ``encode``.

        Raises:
            DataDamaged: the value has another form.
        """
        match = _VALUE.fullmatch(value)
        if match is None:
            raise DataDamaged("the shard count is not a number, or two numbers with a slash")
        return cls(int(match[1]), int(match[2]) if match[2] is not None else None)
