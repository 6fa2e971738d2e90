"""The authority over shards: the epochs that decide which node may write a shard, stored with the data.

Rules that every implementation keeps:

1. ``claim`` raises the epoch of each shard by at least one. Once it returns, no record with an older epoch of that
   shard becomes durable, not even one whose commit had already started.
2. A commit record whose epoch is not the newest one of its shard fails alone, with a fenced ``Conflict``. A store that
   several processes share also compares the owner, because a database that lost claims can issue an epoch twice.
3. A record that neither changes its object nor stores a reply nor has effects is only checked against the epoch. Its
   outcome is the store's newest position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from goverse.model.records import CommitRecord


class Holding(NamedTuple):
    """The latest claim of a shard: its owner and epoch."""

    owner: str
    epoch: int


class Authority(Protocol):
    """The epochs of all shards."""

    async def claim(self, shards: Sequence[int], owner: str) -> Mapping[int, int]:
        """Raise the epochs of ``shards`` for ``owner`` and return the new ones. Claims all shards or none.

        Raises:
            Unavailable: the claim failed or its outcome is unknown; claim again.
        """
        ...

    async def holdings(self) -> Mapping[int, Holding]:
        """Return the latest claim of each shard. Shards that were never claimed are left out.

        Raises:
            Unavailable: the store does not answer.
        """
        ...


def is_check(record: CommitRecord) -> bool:
    """True if the record only has its epoch checked (rule 3)."""
    return bool(record.epoch) and not record.changes_object and record.reply is None and record.effects is None
