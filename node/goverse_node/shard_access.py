"""ShardAccess: which shards a node may serve now, and under which epoch.

A node that owns its store alone serves everything (``ALL_SHARDS``). In a cluster the shards come and go
(``goverse_node.ownership``); the node asks at three moments:

* when an object comes into memory: is its shard open, and what is the epoch of its commits;
* when a reply leaves that no commit stands behind: may it leave without asking the store;
* when the store says that a commit was fenced off: then the shard is somebody else's.
"""

from __future__ import annotations

from typing import Final, Protocol

from goverse.model.keys import ObjectKey


class ShardAccess(Protocol):
    """What a node may serve."""

    def shard_of(self, key: ObjectKey) -> int:
        """Return the shard of an object.

        Raises:
            MalformedRequest: the id names a shard that does not exist.
        """
        ...

    def epoch(self, shard: int) -> int | None:
        """Return the epoch of new commits; None where the shard is not open here. 0 is never fenced off."""
        ...

    def may_answer(self, shard: int, epoch: int) -> bool:
        """Tell whether what was read under ``epoch`` may be told without asking the store."""
        ...

    def fenced(self, shard: int, epoch: int) -> None:
        """Take note that the store refused a record of this epoch."""
        ...


class AllShards:
    """Everything, for as long as the process lives."""

    def shard_of(self, key: ObjectKey) -> int:
        """Return 0: shards mean nothing where there is one node."""
        del key
        return 0

    def epoch(self, shard: int) -> int | None:
        """Return the epoch that is never fenced off."""
        del shard
        return 0

    def may_answer(self, shard: int, epoch: int) -> bool:
        """Return True."""
        del shard, epoch
        return True

    def fenced(self, shard: int, epoch: int) -> None:
        """Do nothing; it cannot happen."""


ALL_SHARDS: Final = AllShards()
