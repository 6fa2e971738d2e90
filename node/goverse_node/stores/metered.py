"""A wrapper that measures the requests to a cluster's store and authority.

It adds one stack frame per batch and none per call.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

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
from goverse.ports.authority import Authority, Holding
from goverse.ports.census import Census
from goverse.ports.history import History
from goverse.ports.outbox import CallFilter
from goverse.ports.store import CommitOutcome, Store
from goverse.telemetry.durations import Durations, Errors
from goverse.telemetry.series import gauge
from goverse_node.stores.object_counts import objects_gauge


class ClusterStore(Store, History, Census, Authority, Protocol):
    """A store with history and census that is also the authority over shards."""

    @property
    def kept_bytes(self) -> int:
        """The size of all kept replies, in bytes."""
        ...

    @property
    def counted(self) -> Mapping[tuple[str, str], int]:
        """The number of objects by namespace and type, as it was counted last."""
        ...


class MeteredStore(Collector):
    """A ``Store`` and ``Authority`` that delegates to another one and measures duration and errors."""

    def __init__(self, store: ClusterStore) -> None:
        """Measure the requests to ``store``."""
        self._store = store
        self.durations = Durations("store_operation", "operations of the store")
        self._errors = Errors("store", "Failed operations of the store, by error code.", self.durations)

    async def open(self) -> None:
        """Open the store."""
        with self.durations.measure("open"):
            await self._store.open()

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()

    def load(self, key: ObjectKey) -> StoredObject | Future[StoredObject | None] | None:
        """Return the object. Loads are not measured, so that a call costs nothing extra."""
        return self._store.load(key)

    def recall(self, key: ObjectKey, idempotency_key: str) -> StoredReply | Future[StoredReply | None] | None:
        """Return the reply kept under the key. Not measured, like :meth:`load`."""
        return self._store.recall(key, idempotency_key)

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        """Make the batch durable."""
        with self.durations.measure("commit"):
            return await self._store.commit(batch)

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List objects."""
        with self.durations.measure("list"):
            return await self._store.list(namespace, type_name, prefix=prefix, after=after, limit=limit)

    async def changes(self, after: int, limit: int, *, where: ChangeFilter | None = None) -> Sequence[Change]:
        """Return changes after position ``after``."""
        with self.durations.measure("changes"):
            return await self._store.changes(after, limit, where=where)

    async def change(self, key: ObjectKey, commit_seq: int) -> Change | None:
        """Return the change of ``key`` at a position."""
        with self.durations.measure("change"):
            return await self._store.change(key, commit_seq)

    async def living(self) -> Mapping[tuple[str, str], int]:
        """Return the number of objects that exist, by namespace and type."""
        with self.durations.measure("living"):
            return await self._store.living()

    async def within(
        self, first: int, last: int, *, after: ObjectPlace | None = None, limit: int
    ) -> Sequence[ObjectPlace]:
        """Return objects by their hash."""
        with self.durations.measure("within"):
            return await self._store.within(first, last, after=after, limit=limit)

    async def pending(self, shards: Collection[int], *, after: int = 0, limit: int) -> Sequence[PendingCall]:
        """Return pending calls of senders in ``shards``."""
        with self.durations.measure("pending"):
            return await self._store.pending(shards, after=after, limit=limit)

    async def pending_where(
        self, where: CallFilter, *, shard: int | None = None, after: tuple[int, int] | None = None, limit: int
    ) -> Sequence[PendingCall]:
        """Return the pending calls that ``where`` selects."""
        with self.durations.measure("pending_where"):
            return await self._store.pending_where(where, shard=shard, after=after, limit=limit)

    def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Receipt | Future[Receipt]:
        """Return the receipt of a pair. Not measured, like :meth:`load`."""
        return self._store.receipt(receiver, sender)

    async def finished(
        self, where: CallFilter, *, after: tuple[int, str] | None = None, limit: int
    ) -> Sequence[FinishedCall]:
        """Return finished calls."""
        with self.durations.measure("finished"):
            return await self._store.finished(where, after=after, limit=limit)

    async def finished_call(
        self, namespace: str, call_id: str, *, sender: ObjectKey | None = None
    ) -> FinishedCall | None:
        """Return the finished call with this id."""
        with self.durations.measure("finished_call"):
            return await self._store.finished_call(namespace, call_id, sender=sender)

    async def count_finished(self, where: CallFilter, *, limit: int) -> int:
        """Return the number of finished calls."""
        with self.durations.measure("count_finished"):
            return await self._store.count_finished(where, limit=limit)

    async def forget_finished(self, where: CallFilter, *, limit: int) -> int:
        """Remove finished calls."""
        with self.durations.measure("forget_finished"):
            return await self._store.forget_finished(where, limit=limit)

    def health(self) -> StoreHealth:
        """Return the store's health."""
        return self._store.health()

    async def claim(self, shards: Sequence[int], owner: str) -> Mapping[int, int]:
        """Raise the epochs of ``shards``."""
        with self.durations.measure("claim"):
            return await self._store.claim(shards, owner)

    async def holdings(self) -> Mapping[int, Holding]:
        """Return the owner and the epoch of each claimed shard."""
        with self.durations.measure("holdings"):
            return await self._store.holdings()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield from self.durations.collect()
        yield from self._errors.collect()
        yield objects_gauge(self._store.counted)
        yield gauge("kept_replies_bytes", "Replies kept under idempotency keys, of all nodes.", self._store.kept_bytes)
        yield gauge("store_ready", "1 while the store accepts commits, else 0.", self._store.health().ready)
