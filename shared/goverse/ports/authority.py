"""The authority over shards: who may write them, kept where the data is.

Rules that every implementation keeps:

1. ``claim`` raises the epoch of each shard by at least one; from the moment that it returns, no record with an older
   epoch of that shard becomes durable, also none whose commit was under way.
2. A commit record whose epoch is not the newest one of its shard fails alone, with a fenced ``Conflict``. A store that
   several processes share also compares the owner: a database that lost claims can give an epoch twice.
3. A record that neither changes its object nor keeps a reply only has its epoch checked; its outcome is the store's
   newest position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from goverse.model.records import CommitRecord


class Holding(NamedTuple):
    """Who claimed a shard last, and at which epoch."""

    owner: str
    epoch: int


class Authority(Protocol):
    """Epochs of shards."""

    async def claim(self, shards: Sequence[int], owner: str) -> Mapping[int, int]:
        """Raise the epochs of ``shards`` in the name of ``owner``; return the new ones, for all of them or for none.

        Raises:
            Unavailable: nothing was claimed, or it is not known whether it was; claim again.
        """
        ...

    async def holdings(self) -> Mapping[int, Holding]:
        """Return who claimed each shard last; shards that nobody ever claimed are left out.

        Raises:
            Unavailable: the store does not answer.
        """
        ...


def is_check(record: CommitRecord) -> bool:
    """Tell whether a record only has its epoch checked (rule 3)."""
    return bool(record.epoch) and not record.changes_object and record.reply is None
