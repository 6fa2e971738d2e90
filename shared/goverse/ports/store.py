"""The store: durable storage of commit records.

Rules that every implementation keeps (``goverse.testing.store_contract`` checks them on each):

1. Once ``commit`` has returned a position for a record, that record survives a kill of the process at any later time.
2. A record whose ``expected`` version is not the object's durable version fails alone, with ``Conflict``; so does one
   whose idempotency key is already stored for the object. The rest of the batch is unaffected.
3. Records of one batch apply in order; a later record may build on an earlier one of the same object.
4. Positions (``commit_seq``) grow with every record and are never reused, across restarts, damage and restores.
5. After a failed write or sync whose outcome is unknown, every later commit raises ``StoreFailed``. A write that
   provably changed nothing (disk full) fails its batch with ``Unavailable`` and may be retried.
6. ``load`` and ``recall`` return durable data only.
7. Versions never decrease. Once expired tombstones have been dropped, ``load`` returns for every unknown object of
   their type a tombstone with at least their highest version, and rule 2 compares with that.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from goverse.model.keys import ObjectKey
from goverse.model.records import (
    Change,
    ChangeFilter,
    CommitRecord,
    ObjectSummary,
    StoredObject,
    StoredReply,
    StoreHealth,
)
from goverse.ports.outbox import Outbox


class Conflict(NamedTuple):
    """The reason why one record of a batch was not committed.

    Attributes:
        reason: a sentence for humans.
        fenced: True if the record's epoch is outdated because another node claimed the shard.
    """

    reason: str
    fenced: bool = False


CommitOutcome = int | Conflict
"""The record's ``commit_seq``, or the reason why it failed."""


class Store(Outbox, Protocol):
    """Durable objects, replies and reliable calls. All methods are called on one event loop."""

    async def open(self) -> None:
        """Recover the data and start serving.

        Raises:
            StoreError: the data is unusable as it is; the message names the file and the offset.
        """
        ...

    async def close(self) -> None:
        """Finish pending commits, then release files and locks. May be called twice."""
        ...

    def load(self, key: ObjectKey) -> StoredObject | Future[StoredObject | None] | None:
        """Return the object, its tombstone, or None if it never existed; directly if in memory, else as a future."""
        ...

    def recall(self, key: ObjectKey, idempotency_key: str) -> StoredReply | Future[StoredReply | None] | None:
        """Return the unexpired reply stored under the key for this object; directly if in memory, else as a future.

        Raises:
            Overloaded: no reply is stored, and there is no room to store one.
        """
        ...

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        """Make the batch durable and return one outcome per record, in order. Only one call may run at a time.

        Raises:
            Unavailable: nothing of the batch is durable; retry.
            StoreFailed: the outcome is unknown; the store accepts no more commits.
        """
        ...

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """Return up to ``limit`` live objects whose id begins with ``prefix`` and is greater than ``after``, in the
        order of the id's UTF-8 bytes."""
        ...

    async def changes(self, after: int, limit: int, *, where: ChangeFilter | None = None) -> Sequence[Change]:
        """Return up to ``limit`` changes with ``commit_seq > after``, in order; with ``where``, those that it selects.

        Fewer than ``limit`` mean that there are no further ones yet.

        Raises:
            CursorExpired: entries after ``after`` were trimmed; carries ``oldest``.
        """
        ...

    def health(self) -> StoreHealth:
        """Return whether the store accepts commits."""
        ...
