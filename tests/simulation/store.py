"""The store of a simulated cluster: one ``MemoryStore``, which each node reaches over the network.

A request may be lost, its answer may be lost, and it may be carried out after its sender was paused or killed. A node
whose commit got no answer asks for its outcome until it knows it, as the PostgreSQL store does: asking for a batch that
has not arrived refuses it from then on, so the node may send it again.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextvars import copy_context
from functools import partial
from itertools import count
from typing import Any, TypeVar

from goverse.errors import StoreFailed, Unavailable
from goverse.model.effects import FinishedCall, PendingCall
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Receipt
from goverse.model.records import (
    Change,
    ChangeFilter,
    CommitRecord,
    ObjectPlace,
    ObjectSummary,
    StoredObject,
    StoredReply,
    StoreHealth,
)
from goverse.ports.authority import Holding
from goverse.ports.outbox import CallFilter
from goverse.ports.store import CommitOutcome
from goverse_node.stores.memory import MemoryStore
from tests.simulation.messages import commit_in_words
from tests.simulation.watchers import Watchers
from tests.simulation.world import World

NAME = "store"
REQUEST_TIMEOUT_S = 1.0
ATTEMPTS = 3

T = TypeVar("T")


class Lost(Exception):
    """No answer came in time."""


class Database:
    """The store's server.

    Attributes:
        memory: the data.
        delay_s: the longest time that a commit takes besides the network.
        context: the context of its work, which belongs to no process.
    """

    def __init__(self, world: World, watchers: Watchers, memory: MemoryStore) -> None:
        self.world = world
        self.watchers = watchers
        self.memory = memory
        self.delay_s = 0.0
        self.context = copy_context()
        self._batches: dict[str, Sequence[CommitOutcome] | None] = {}

    async def commit(self, name: str, owner: str, records: Sequence[CommitRecord]) -> Sequence[CommitOutcome] | None:
        """Carry out a batch and return its outcomes; None if it was refused before it arrived."""
        if name in self._batches:
            return self._batches[name]
        before = {shard: held.epoch for shard, held in (await self.memory.holdings()).items()}
        outcomes = self._batches[name] = await self.memory.commit(records)
        for record, outcome in zip(records, outcomes, strict=True):
            self.watchers.recorded(record, outcome, owner, before.get(record.shard, 0))
            self.world.note(f"store ({owner})", commit_in_words(record, outcome))
        return outcomes

    async def resolve(self, name: str) -> Sequence[CommitOutcome] | None:
        """Return the outcomes of a batch. A batch that has not arrived is refused from now on."""
        return self._batches.setdefault(name, None)

    async def claim(self, shards: Sequence[int], owner: str, life: str, sent_at: float) -> Mapping[int, int]:
        """Raise the epochs of shards for ``owner``, whose present life has the name ``life``."""
        epochs = await self.memory.claim(shards, owner)
        for shard, epoch in epochs.items():
            self.watchers.claimed(shard, epoch, life, sent_at=sent_at, now=self.world.now)
        self.world.note(f"store ({life})", f"claim shards {sorted(epochs.items())}")
        return epochs


class SimulatedStore:
    """The store as one process sees it: a ``goverse.ports.store.Store`` and ``goverse.ports.authority.Authority``."""

    def __init__(self, database: Database, process: str, owner: str) -> None:
        """Reach ``database`` from the process named ``process``. ``owner`` names this life of it."""
        self._database, self._process, self._owner = database, process, owner
        self._batches = count(1)
        self._open = False
        self._reads: dict[asyncio.Task[Any], None] = {}

    # --- the network --------------------------------------------------------------------------------------------------

    async def _ask(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Carry out ``operation`` at the server.

        Raises:
            Lost: no answer came; it may have been carried out.
            Unavailable: this side is closed.
        """
        if not self._open:
            raise Unavailable("the store is not open")
        task = asyncio.get_running_loop().create_task(self._travel(operation), context=self._database.context)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _travel(self, operation: Callable[[], Awaitable[T]]) -> T:
        world = self._database.world
        await asyncio.sleep(world.delay_s(self._process, NAME))
        if not world.reaches(self._process, NAME) or world.loses():
            await asyncio.sleep(REQUEST_TIMEOUT_S)
            raise Lost
        if self._database.delay_s:
            await asyncio.sleep(world.random.uniform(0, self._database.delay_s))
        result = await operation()
        await asyncio.sleep(world.delay_s(NAME, self._process))
        if not world.reaches(NAME, self._process) or world.loses():
            await asyncio.sleep(REQUEST_TIMEOUT_S)
            raise Lost
        return result

    async def _ask_for_data(self, operation: Callable[[], Awaitable[T]]) -> T:
        for _ in range(ATTEMPTS):
            try:
                return await self._ask(operation)
            except Lost:
                continue
        raise Unavailable("the store does not answer")

    # --- Store --------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self._database.memory.open()
        self._open = True

    async def close(self) -> None:
        """Refuse further work, and give up reads in progress. The server stays open for other processes."""
        self._open = False
        for task in self._reads:
            task.cancel()
        if self._reads:
            await asyncio.wait(self._reads)

    def load(self, key: ObjectKey) -> Future[StoredObject | None]:
        return self._read(lambda: self._database.memory.load(key))

    def recall(self, key: ObjectKey, idempotency_key: str) -> Future[StoredReply | None]:
        return self._read(lambda: self._database.memory.recall(key, idempotency_key))

    def _read(self, read: Callable[[], T]) -> Future[T]:
        async def at_server() -> T:
            return read()

        task = asyncio.get_running_loop().create_task(self._ask_for_data(at_server))
        self._reads[task] = None
        task.add_done_callback(self._reads.pop)
        return task

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        """Commit the batch, however long it takes until the outcome is known."""
        if not self._open:
            raise StoreFailed("the store is not open")
        while True:
            name = f"{self._owner}/{next(self._batches)}"
            outcomes = await self._outcomes(name, batch)
            if outcomes is not None:
                return outcomes

    async def _outcomes(self, name: str, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome] | None:
        database, operation = self._database, partial(self._database.commit, name, self._owner, batch)
        while True:
            try:
                return await self._ask(operation)
            except Lost:
                operation = partial(database.resolve, name)

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        memory = self._database.memory
        return await self._ask_for_data(
            lambda: memory.list(namespace, type_name, prefix=prefix, after=after, limit=limit)
        )

    async def changes(self, after: int, limit: int, *, where: ChangeFilter | None = None) -> Sequence[Change]:
        return await self._ask_for_data(lambda: self._database.memory.changes(after, limit, where=where))

    def health(self) -> StoreHealth:
        health = self._database.memory.health()
        return health if self._open else health._replace(ready=False, reason="the store is not open")

    # --- History and Census -------------------------------------------------------------------------------------------

    async def change(self, key: ObjectKey, commit_seq: int) -> Change | None:
        return await self._ask_for_data(lambda: self._database.memory.change(key, commit_seq))

    async def living(self) -> Mapping[tuple[str, str], int]:
        return await self._ask_for_data(self._database.memory.living)

    async def within(
        self, first: int, last: int, *, after: ObjectPlace | None = None, limit: int
    ) -> Sequence[ObjectPlace]:
        return await self._ask_for_data(lambda: self._database.memory.within(first, last, after=after, limit=limit))

    # --- Outbox -------------------------------------------------------------------------------------------------------

    async def pending(self, shards: Collection[int], *, after: int = 0, limit: int) -> Sequence[PendingCall]:
        return await self._ask_for_data(lambda: self._database.memory.pending(shards, after=after, limit=limit))

    async def pending_where(
        self, where: CallFilter, *, shard: int | None = None, after: tuple[int, int] | None = None, limit: int
    ) -> Sequence[PendingCall]:
        memory = self._database.memory
        return await self._ask_for_data(lambda: memory.pending_where(where, shard=shard, after=after, limit=limit))

    async def count_finished(self, where: CallFilter, *, limit: int) -> int:
        return await self._ask_for_data(lambda: self._database.memory.count_finished(where, limit=limit))

    def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Future[Receipt]:
        return self._read(lambda: self._database.memory.receipt(receiver, sender))

    async def finished(
        self, where: CallFilter, *, after: tuple[int, str] | None = None, limit: int
    ) -> Sequence[FinishedCall]:
        return await self._ask_for_data(lambda: self._database.memory.finished(where, after=after, limit=limit))

    async def finished_call(
        self, namespace: str, call_id: str, *, sender: ObjectKey | None = None
    ) -> FinishedCall | None:
        return await self._ask_for_data(lambda: self._database.memory.finished_call(namespace, call_id, sender=sender))

    async def forget_finished(self, where: CallFilter, *, limit: int) -> int:
        return await self._ask_for_data(lambda: self._database.memory.forget_finished(where, limit=limit))

    # --- Authority ----------------------------------------------------------------------------------------------------

    async def claim(self, shards: Sequence[int], owner: str) -> Mapping[int, int]:
        """Raise the epochs of shards.

        Raises:
            Unavailable: no answer came; the epochs may have been raised.
        """
        sent_at = self._database.world.now
        try:
            return await self._ask(lambda: self._database.claim(shards, owner, self._owner, sent_at))
        except Lost:
            raise Unavailable("the store does not answer") from None

    async def holdings(self) -> Mapping[int, Holding]:
        return await self._ask_for_data(self._database.memory.holdings)


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # the process that asked may be gone
