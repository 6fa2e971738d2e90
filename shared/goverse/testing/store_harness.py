"""Test harness of the store contracts: a store per test, a manual clock, and functions that make records."""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredObject, StoredReply
from goverse.ports.census import Census
from goverse.ports.clock import ManualClock
from goverse.ports.history import History
from goverse.ports.store import Store

KEY = ObjectKey("default", "Counter", "c1")
OTHER = ObjectKey("default", "Counter", "c2")
NOW_MS = ManualClock().wall_ms()


class CompleteStore(Store, History, Census, Protocol):
    """A store with the history and the census of its objects."""


def put(key: ObjectKey, expected: int, state: bytes = b"{}", *, at_ms: int = NOW_MS) -> CommitRecord:
    """Return a record that writes ``state`` over version ``expected``."""
    return CommitRecord(key, expected, expected + 1, state, 1, at_ms)


def delete(key: ObjectKey, expected: int, *, at_ms: int = NOW_MS) -> CommitRecord:
    """Return a record that deletes the object at version ``expected``."""
    return CommitRecord(key, expected, expected + 1, None, 1, at_ms)


def keep(
    key: ObjectKey, expected: int, idempotency_key: str, reply: StoredReply, *, changes: bool = False
) -> CommitRecord:
    """Return a record that stores a reply; ``changes`` also writes a new state."""
    version = expected + 1 if changes else expected
    return CommitRecord(key, expected, version, b'{"kept":true}', 1, NOW_MS, idempotency_key, reply)


async def load(store: Store, key: ObjectKey) -> StoredObject | None:
    """Load an object from a store that returns a value or a future."""
    answer = store.load(key)
    return await answer if isinstance(answer, Future) else answer


async def recall(store: Store, key: ObjectKey, idempotency_key: str) -> StoredReply | None:
    """Recall a reply from a store that returns a value or a future."""
    answer = store.recall(key, idempotency_key)
    return await answer if isinstance(answer, Future) else answer


async def seqs_of(store: Store, batch: Sequence[CommitRecord]) -> list[int]:
    """Commit a batch without conflicts; return the positions."""
    outcomes = await store.commit(batch)
    assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, int)]


class StoreHarness:
    """A base class that provides a store for each test; subclasses implement ``make_store``."""

    clock: ManualClock

    def make_store(self) -> CompleteStore:
        """Return a store that is not open yet, with ``self.clock`` and with data of its own."""
        raise NotImplementedError

    def make_clock(self) -> ManualClock:
        """Return the clock that the test advances; replies expire by it, even if the store uses another clock."""
        return ManualClock()

    async def restart(self, store: CompleteStore) -> CompleteStore:
        """Return the store as a new process would open it; by default, close and open the same store."""
        await store.close()
        await store.open()
        return store

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[CompleteStore, None]:
        """Provide an open store; close it at the end."""
        self.clock = self.make_clock()
        store = self.make_store()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    def reply(self, body: bytes = b"2", *, lives_s: float = 60.0) -> StoredReply:
        """Return a reply that expires ``lives_s`` from now."""
        return StoredReply(b"fingerprint", body, self.clock.wall_ms() + round(lives_s * 1000))
