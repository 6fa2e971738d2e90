"""The store: where commit records become durable.

Rules that every implementation keeps (``goverse.testing.store_contract`` checks them on each):

1. When ``commit`` returns a position for a record, that record survives a kill of the process at any later instant.
2. A record whose ``expected`` version is not the object's durable version fails alone, with ``Conflict``; so does one
   whose idempotency key is already kept for the object. The rest of the batch is not touched.
3. Records of one batch apply in order; a later record of the batch may build on an earlier one of the same object.
4. Positions (``commit_seq``) grow with every record and are never used twice, over restarts, damage and restores.
5. After a failed write or sync whose outcome is unknown the store acknowledges nothing more: every later commit raises
   ``StoreFailed``. A write that provably left nothing behind (disk full) fails its batch with ``Unavailable`` and
   may be tried again.
6. ``load`` and ``recall`` see durable data only.
7. Versions never go back. Where tombstones past their retention are forgotten, ``load`` answers for every unknown
   object of their type with a tombstone at least as high, and rule 2 measures against that.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from goverse.model.keys import ObjectKey
from goverse.model.records import Change, CommitRecord, ObjectSummary, StoredObject, StoredReply, StoreHealth


class Conflict(NamedTuple):
    """Why one record of a batch was not committed.

    Attributes:
        reason: a sentence for people.
        fenced: the record's epoch is not the newest one of its shard: another node claimed it.
    """

    reason: str
    fenced: bool = False


CommitOutcome = int | Conflict
"""The record's ``commit_seq``, or why it failed."""


class Store(Protocol):
    """Durable objects and replies. All methods are called on one event loop."""

    async def open(self) -> None:
        """Recover and be ready.

        Raises:
            StoreError: the data cannot be served as it is; the message names the file and the offset.
        """
        ...

    async def close(self) -> None:
        """Finish what was handed over, then let go of files and locks. May be called twice."""
        ...

    def load(self, key: ObjectKey) -> StoredObject | Future[StoredObject | None] | None:
        """Return the object, a tombstone, or None if it never existed; at once where it is in memory, else a future."""
        ...

    def recall(self, key: ObjectKey, idempotency_key: str) -> StoredReply | Future[StoredReply | None] | None:
        """Return the reply kept under the key for this object, unless it expired; at once where it is in memory.

        Raises:
            Overloaded: none is kept, and there is no room to keep one.
        """
        ...

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        """Make the batch durable; one outcome per record, in order. One call at a time.

        Raises:
            Unavailable: nothing of the batch is durable; it may be tried again.
            StoreFailed: the outcome is unknown; the store takes no more commits.
        """
        ...

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """Return up to ``limit`` living objects whose id begins with ``prefix`` and is greater than ``after``, by
        UTF-8 bytes of the id."""
        ...

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        """Return up to ``limit`` changes with ``commit_seq > after``, in order.

        Raises:
            CursorExpired: entries behind ``after`` were trimmed; carries ``oldest``.
        """
        ...

    def health(self) -> StoreHealth:
        """Tell whether commits are taken."""
        ...
