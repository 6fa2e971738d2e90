"""A store under the control of a test: commits are held, released or failed, and reads are answered late.

It is a complete store: commits that are let through reach the memory store behind it and are durable in the sense of
the port. `durable` lists the durable records in order, and `seq` is the newest durable position.
"""

import asyncio
from asyncio import Future
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from goverse.model.effects import FinishedCall, PendingCall
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Receipt
from goverse.model.records import (
    Change,
    ChangeFilter,
    CommitRecord,
    ObjectSummary,
    StoredObject,
    StoredReply,
    StoreHealth,
)
from goverse.ports.outbox import CallFilter
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.wal.store import WalStore

T = TypeVar("T")

Refusing = Callable[[CommitRecord], bool]
"""Which records of a batch fail alone."""


class GatedStore:
    """A memory store whose commits and reads a test controls."""

    def __init__(self, inner: MemoryStore | WalStore | None = None) -> None:
        self.inner: MemoryStore | WalStore = inner or MemoryStore()
        self.durable: list[tuple[int, CommitRecord]] = []
        self.arrived = 0
        self.deferring = False
        self._shut: Future[None] | None = None
        self._failures: deque[Exception | Refusing] = deque()
        self._asked: list[Callable[[], None]] = []

    @property
    def seq(self) -> int:
        return self.durable[-1][0] if self.durable else 0

    # --- control ------------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Hold all commits."""
        if self._shut is None:
            self._shut = asyncio.get_running_loop().create_future()

    def release(self) -> None:
        """Release the held commits, and hold no further ones until the next ``hold``."""
        shut, self._shut = self._shut, None
        if shut is not None and not shut.done():
            shut.set_result(None)

    def fail(self, error: Exception) -> None:
        """Let the next commit that has no failure planned yet raise `error`."""
        self._failures.append(error)

    def refuse(self, which: Refusing) -> None:
        """Let the next commit refuse some of its records."""
        self._failures.append(which)

    def answer(self) -> None:
        """Answer the requests that were made while `deferring`."""
        asked, self._asked = self._asked, []
        for answer in asked:
            answer()

    @property
    def asked(self) -> int:
        return len(self._asked)

    def _later(self, question: Callable[[], T]) -> T | Future[T]:
        if not self.deferring:
            return question()
        future: Future[T] = asyncio.get_running_loop().create_future()

        def answer() -> None:
            if not future.done():
                try:
                    future.set_result(question())
                except Exception as error:
                    future.set_exception(error)

        self._asked.append(answer)
        return future

    # --- Store --------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    def load(self, key: ObjectKey) -> StoredObject | Future[StoredObject | None] | None:
        return self._later(lambda: self.inner.load(key))

    def recall(self, key: ObjectKey, idempotency_key: str) -> StoredReply | Future[StoredReply | None] | None:
        return self._later(lambda: self.inner.recall(key, idempotency_key))

    def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Receipt | Future[Receipt]:
        return self._later(lambda: self.inner.receipt(receiver, sender))

    async def pending(self, shards: Collection[int], *, after: int = 0, limit: int) -> Sequence[PendingCall]:
        return await self.inner.pending(shards, after=after, limit=limit)

    async def pending_where(
        self, where: CallFilter, *, shard: int | None = None, after: tuple[int, int] | None = None, limit: int
    ) -> Sequence[PendingCall]:
        return await self.inner.pending_where(where, shard=shard, after=after, limit=limit)

    async def count_finished(self, where: CallFilter, *, limit: int) -> int:
        return await self.inner.count_finished(where, limit=limit)

    async def finished(
        self, where: CallFilter, *, after: tuple[int, str] | None = None, limit: int
    ) -> Sequence[FinishedCall]:
        return await self.inner.finished(where, after=after, limit=limit)

    async def finished_call(
        self, namespace: str, call_id: str, *, sender: ObjectKey | None = None
    ) -> FinishedCall | None:
        return await self.inner.finished_call(namespace, call_id, sender=sender)

    async def forget_finished(self, where: CallFilter, *, limit: int) -> int:
        return await self.inner.forget_finished(where, limit=limit)

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        self.arrived += 1
        if self._shut is not None:
            await self._shut
        failure = self._failures.popleft() if self._failures else None
        if isinstance(failure, Exception):
            raise failure
        taken = [record for record in batch if failure is None or not failure(record)]
        passed = dict(zip(map(id, taken), await self.inner.commit(taken), strict=True))
        outcomes = [passed.get(id(record), Conflict("the test refuses it")) for record in batch]
        self.durable.extend(
            (outcome, record) for outcome, record in zip(outcomes, batch, strict=True) if isinstance(outcome, int)
        )
        return outcomes

    async def claim(self, shards: Sequence[int], owner: str) -> Mapping[int, int]:
        """Claim shards in the store behind this one, which keeps the epochs."""
        assert isinstance(self.inner, MemoryStore)
        return await self.inner.claim(shards, owner)

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        return await self.inner.list(namespace, type_name, prefix=prefix, after=after, limit=limit)

    async def changes(self, after: int, limit: int, *, where: ChangeFilter | None = None) -> Sequence[Change]:
        return await self.inner.changes(after, limit, where=where)

    def health(self) -> StoreHealth:
        return self.inner.health()
