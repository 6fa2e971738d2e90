"""Access to shards: the shards that a node may serve now, and the epoch of each.

A node that owns its store alone serves every shard (``ALL_SHARDS``). In a cluster, shards are assigned to nodes
(``goverse_node.ownership``), and the node uses this interface at three points:

* Before it activates an object: is the object's shard open here, and what is the epoch for its commits?
* Before it sends a reply without a commit: may it reply without a check in the store?
* After the store fenced a commit: another node has claimed the shard.
"""

from __future__ import annotations

from typing import Final, Protocol

from goverse.limits import CLUSTER_SHARDS
from goverse.model.keys import ObjectKey, placement_hash


class ShardAccess(Protocol):
    """The shards that a node may serve."""

    def shard_of(self, key: ObjectKey) -> int:
        """Return the shard of an object.

        Raises:
            MalformedRequest: the id names a shard that does not exist.
        """
        ...

    def hash_of(self, key: ObjectKey) -> int:
        """Return the placement hash of an object, from which its shard follows.

        Raises:
            MalformedRequest: the id names a shard that does not exist.
        """
        ...

    def epoch(self, shard: int) -> int | None:
        """Return the epoch for new commits, or None if the shard is not open here. Epoch 0 is never fenced."""
        ...

    def may_answer(self, shard: int, epoch: int) -> bool:
        """Return True if a state that was read under ``epoch`` may be returned without a check in the store."""
        ...

    def fenced(self, shard: int, epoch: int) -> None:
        """Handle a record of this epoch that the store refused."""
        ...


class AllShards:
    """Access to every shard, for the life of the process.

    ``base`` limits ``shard#N`` ids as in a cluster that was created with so many shards, because objects of a single
    node can be moved into a cluster.
    """

    def __init__(self, base: int = CLUSTER_SHARDS) -> None:
        self._base = base

    def shard_of(self, key: ObjectKey) -> int:
        """Return 0: a single node does not divide its objects into shards."""
        if key.id.startswith("shard#"):
            placement_hash(key, self._base)
        return 0

    def hash_of(self, key: ObjectKey) -> int:
        """Return the placement hash of an object.

        Raises:
            MalformedRequest: the id names a shard that does not exist.
        """
        return placement_hash(key, self._base)

    def epoch(self, shard: int) -> int | None:
        """Return 0, the epoch that is never fenced."""
        del shard
        return 0

    def may_answer(self, shard: int, epoch: int) -> bool:
        del shard, epoch
        return True

    def fenced(self, shard: int, epoch: int) -> None:
        """Do nothing: epoch 0 is never fenced."""


ALL_SHARDS: Final = AllShards()
