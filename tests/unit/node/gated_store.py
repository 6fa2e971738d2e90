"""A store whose commits can be held back, refused and watched; otherwise the memory store, rules and all."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Sequence
from typing import TypeVar

from goverse.errors import GoverseError
from goverse.model.keys import ObjectKey
from goverse.model.records import Change, CommitRecord, ObjectSummary, StoredObject, StoredReply, StoreHealth
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.stores.memory import MemoryStore

T = TypeVar("T")


class GatedStore:
    """Implements ``Store`` over a ``MemoryStore``.

    Attributes:
        failures: errors for the next commits, in order; None lets one pass.
        conflicts: how many records the next commits refuse, first come first refused.
        remote: answer ``load`` and ``recall`` with futures, as a store behind a network does.
        durable: every (key, version) that became durable, in order, with its position.
    """

    def __init__(self) -> None:
        self._inner = MemoryStore()
        self._open = asyncio.Event()
        self._open.set()
        self.waiting = 0
        self.failures: list[GoverseError | None] = []
        self.conflicts = 0
        self.remote = False
        self.durable: list[tuple[ObjectKey, int, int]] = []

    def hold(self) -> None:
        """Let no commit become durable until ``release``."""
        self._open.clear()

    def release(self) -> None:
        """Let commits pass."""
        self._open.set()

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    def _answer(self, value: T) -> T | Future[T]:
        if not self.remote:
            return value
        loop = asyncio.get_running_loop()
        future: Future[T] = loop.create_future()
        loop.call_later(0.001, future.set_result, value)
        return future

    def load(self, key: ObjectKey) -> StoredObject | Future[StoredObject | None] | None:
        return self._answer(self._inner.load(key))

    def recall(self, key: ObjectKey, idempotency_key: str) -> StoredReply | Future[StoredReply | None] | None:
        return self._answer(self._inner.recall(key, idempotency_key))

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        self.waiting = len(batch)
        await self._open.wait()
        self.waiting = 0
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure
        refused: set[int] = set()
        while self.conflicts and len(refused) < len(batch):
            refused.add(len(refused))
            self.conflicts -= 1
        kept = [record for index, record in enumerate(batch) if index not in refused]
        outcomes = iter(await self._inner.commit(kept))
        result: list[CommitOutcome] = [
            Conflict("refused by the test") if index in refused else next(outcomes) for index in range(len(batch))
        ]
        for record, outcome in zip(batch, result, strict=True):
            if isinstance(outcome, int):
                self.durable.append((record.key, record.version, outcome))
        return result

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        return await self._inner.list(namespace, type_name, prefix=prefix, after=after, limit=limit)

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        return await self._inner.changes(after, limit)

    def health(self) -> StoreHealth:
        return self._inner.health()
