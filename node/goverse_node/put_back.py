"""Restoring one object to an earlier state, as a new version, while its node serves.

The restored state is committed like any other change. Its record follows the records that the object has already
queued. If one of those fails, the restore is tried again. When it is durable, the object leaves memory immediately:
turns that run on the replaced state have no effect, and waiting calls start with the restored state.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from typing import Final

from goverse.errors import GoverseError, Moving, Unavailable
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse_node.node import Node
from goverse_node.runtime.activation import Phase
from goverse_node.runtime.group_commit import PendingCommit

_TRIES: Final = 20


async def put_back(
    node: Node, key: ObjectKey, state: bytes, state_version: int, creation: bytes | None
) -> tuple[int, int]:
    """Restore the object ``key`` to ``state``, with ``creation``, the digest of its creation arguments.

    The digest decides how a repeated ``PUT`` is answered, so it must belong to the restored state and not to the object
    that is replaced. Returns the new version and its commit_seq.

    Raises:
        UnknownType: the node does not serve the type.
        Unavailable: the store does not commit.
        Moving: the object's shard is not open on this node.
    """
    node.registry.type(key.type)
    refusal = Unavailable(f"{key} was not restored; try again")
    for _ in range(_TRIES):
        stored = node.store.load(key)
        present = await stored if isinstance(stored, Future) else stored
        resident = node.activations.get(key)
        if resident is not None and resident.phase is Phase.ACTIVE:
            expected = resident.state.instance.version
        else:
            expected = present.version if present is not None else 0
        shard = node.shard_access.shard_of(key)
        epoch = node.shard_access.epoch(shard)
        if epoch is None:
            raise Moving
        fields = (key, expected, expected + 1, state, state_version, node.clock.wall_ms())
        record = CommitRecord(*fields, shard=shard, epoch=epoch, creation=creation)
        restored = _Restored(node, key, shard, epoch)
        node.pipeline.append(PendingCommit(record, restored, None, Reply()))
        try:
            return expected + 1, await restored.done
        except Unavailable as error:
            refusal = error
            if not node.store.health().ready:
                raise
    raise refusal


class _Restored:
    """Owner of the restoring commit; see ``goverse_node.runtime.group_commit.Owner``."""

    failure: GoverseError | None = None

    def __init__(self, node: Node, key: ObjectKey, shard: int, epoch: int) -> None:
        self.done: Future[int] = asyncio.get_running_loop().create_future()
        self._node = node
        self._key = key
        self._place = (shard, epoch)

    def fenced(self) -> None:
        self._node.shard_access.fenced(*self._place)

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        del pending
        if error is not None:
            self.done.set_exception(error)
            return
        activation = self._node.activations.get(self._key)
        if activation is not None:
            activation.reset(None)
        self.done.set_result(commit_seq)
