"""Giving one object an earlier state, as a new version, while its node serves.

The new version is a commit like any other. It follows the commits that the object has handed over by then, durable or
not; if one of those fails, it is made again. Once it is durable, the object leaves memory at once: turns that run on
the replaced state end without effect, and the calls that wait begin with the restored state.
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
from goverse_node.phase import Phase
from goverse_node.pipeline import PendingCommit

_TRIES: Final = 20


async def put_back(
    node: Node, key: ObjectKey, state: bytes, state_version: int, creation: bytes | None
) -> tuple[int, int]:
    """Give ``key`` a state, and the digest of the creation that it goes back to.

    The digest decides how a repeated ``PUT`` is answered: it has to be the one of that state, not of the object that
    is replaced. Returns the new version and its position.

    Raises:
        UnknownType: the node does not serve the type.
        Unavailable: the store takes no commits.
        Moving: the object's shard is not open on this node.
    """
    node.registry.type(key.type)
    refusal = Unavailable(f"{key} was not restored")
    for _ in range(_TRIES):
        stored = node.store.load(key)
        present = await stored if isinstance(stored, Future) else stored
        resident = node.activations.get(key)
        if resident is not None and resident.phase is Phase.ACTIVE:
            expected = resident.instance.version
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
    """Owns the commit; see ``goverse_node.pipeline.Owner``."""

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
