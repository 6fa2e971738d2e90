"""An in-memory store and shard authority for unit tests and throw-away runs. Its data is lost with the process.

It follows the same rules as the durable stores. It keeps a bounded tail of the change feed, so a reader that falls too
far behind gets ``CursorExpired``, as it would from a store whose log was trimmed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Final

from goverse.errors import CursorExpired, StoreFailed, Unavailable
from goverse.limits import TOMBSTONE_RETENTION_S
from goverse.model.call_retention import CallRetention
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
from goverse.ports.authority import Holding, is_check
from goverse.ports.clock import Clock, SystemClock
from goverse.ports.outbox import CallFilter
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.stores.encoding import change_of
from goverse_node.stores.hash_ranges import within
from goverse_node.stores.kept import KeptBounds
from goverse_node.stores.outbox_encoding import plain
from goverse_node.stores.running_time import RunningTime
from goverse_node.stores.table import SWEEP_PER_RECORD, Table

CHANGES_KEPT: Final = 100_000


class MemoryStore:
    """An in-memory :class:`goverse.ports.store.Store` and :class:`goverse.ports.authority.Authority`."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        changes_kept: int = CHANGES_KEPT,
        tombstone_retention_s: float = TOMBSTONE_RETENTION_S,
        kept: KeptBounds | None = None,
        call_retention: CallRetention | None = None,
    ) -> None:
        """Create an empty store.

        ``changes_kept`` limits the change feed, ``kept`` the replies, ``call_retention`` the ends of calls.
        """
        self._clock: Clock = clock or SystemClock()
        self._time = RunningTime(self._clock, self._clock.wall_ms())
        self._table = Table(tombstone_retention_s=tombstone_retention_s, kept=kept, call_retention=call_retention)
        self._changes: OrderedDict[int, bytes] = OrderedDict()
        self._changes_kept = changes_kept
        self._trimmed_seq = 0
        self._seq = 0
        self._open = False
        self._holdings: dict[int, Holding] = {}

    async def open(self) -> None:
        """Accept commits. Objects from before a :meth:`close` are still there, as in a store on disk."""
        self._open = True

    async def close(self) -> None:
        """Refuse further commits."""
        self._open = False

    def load(self, key: ObjectKey) -> StoredObject | None:
        """Return the object, a tombstone, or None if it never existed."""
        return self._table.load(key)

    def recall(self, key: ObjectKey, idempotency_key: str) -> StoredReply | None:
        """Return the reply that this object keeps under the key, or None if there is none or it has expired."""
        return self._table.recall(key, idempotency_key, self._time.now_ms())

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        """Commit the batch. Returns one outcome per record, in order."""
        if not self._open:
            raise StoreFailed("the store is not open")
        now_ms = self._time.now_ms()
        held = [record for record in batch if not self._is_fenced(record)]
        written = [record for record in held if not is_check(record)]
        staged, pieces = self._table.stage(written, self._seq + 1, now_ms)
        self._table.apply_staged()
        bodies = iter(pieces[1::2])
        for record, outcome in zip(written, staged, strict=True):
            if isinstance(outcome, int):
                self._seq, body = outcome, next(bodies)
                if record.changes_object:
                    self._note(outcome, plain(body))
        limit = SWEEP_PER_RECORD * len(batch) + SWEEP_PER_RECORD
        self._table.sweep(now_ms, limit, wall_ms=self._clock.wall_ms())
        outcomes = iter(staged)
        checked = iter([self._seq if is_check(record) else next(outcomes) for record in held])
        return [self._fence(record) if self._is_fenced(record) else next(checked) for record in batch]

    # --- Outbox ---------------------------------------------------------------------------------------------

    async def pending(self, shards: Collection[int], *, after: int = 0, limit: int) -> Sequence[PendingCall]:
        """Return up to ``limit`` pending calls of senders in ``shards`` with numbers above ``after``, in order."""
        return self._table.outbox.pending(shards, after=after, limit=limit)

    async def pending_where(
        self, where: CallFilter, *, shard: int | None = None, after: tuple[int, int] | None = None, limit: int
    ) -> Sequence[PendingCall]:
        """Return up to ``limit`` pending calls that ``where`` selects, sorted by shard and number."""
        return await self._table.outbox.pending_where(where, shard=shard, after=after, limit=limit)

    def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Receipt:
        """Return the receipt of a pair."""
        return self._table.outbox.receipt(receiver, sender)

    async def finished(
        self, where: CallFilter, *, after: tuple[int, str] | None = None, limit: int
    ) -> Sequence[FinishedCall]:
        """Return up to ``limit`` finished calls that ``where`` selects, the newest first."""
        return await self._table.outbox.finished(where, self._time.now_ms(), after=after, limit=limit)

    async def finished_call(
        self, namespace: str, call_id: str, *, sender: ObjectKey | None = None
    ) -> FinishedCall | None:
        """Return the newest finished call with this id, of ``sender`` if it is known."""
        return self._table.outbox.finished_call(CallFilter(namespace, sender=sender), call_id, self._time.now_ms())

    async def count_finished(self, where: CallFilter, *, limit: int) -> int:
        """Return the number of finished calls that ``where`` selects, ``limit`` if there are more."""
        return len(await self._table.outbox.selected(where, self._time.now_ms(), limit))

    async def forget_finished(self, where: CallFilter, *, limit: int) -> int:
        """Remove up to ``limit`` finished calls that ``where`` selects, the oldest first. Returns their number."""
        outbox = self._table.outbox
        places = await outbox.selected(where, self._time.now_ms(), limit)
        entries = outbox.forgetting(places, (self._seq, self._clock.wall_ms()))
        for entry in entries:
            outbox.put(entry)
        return len(entries)

    async def forget_receipts(self) -> int:
        """Remove the receipts that have not been needed since the previous call. Returns their number."""
        return self._table.outbox.rounds.complete()

    # --- sizes ----------------------------------------------------------------------------------------------

    @property
    def kept_bytes(self) -> int:
        """An estimate of the memory that kept replies take."""
        return self._table.kept_bytes

    @property
    def counted(self) -> Mapping[tuple[str, str], int]:
        """The number of objects that exist, by namespace and type."""
        return self._table.living()

    # --- Authority ------------------------------------------------------------------------------------------

    async def claim(self, shards: Sequence[int], owner: str) -> Mapping[int, int]:
        """Raise the epochs of ``shards`` and make ``owner`` their owner. Returns the new epochs."""
        if not self._open:
            raise Unavailable("the store is not open")
        for shard in shards:
            before = self._holdings.get(shard)
            self._holdings[shard] = Holding(owner, before.epoch + 1 if before is not None else 1)
        return {shard: self._holdings[shard].epoch for shard in shards}

    async def holdings(self) -> Mapping[int, Holding]:
        """Return the owner and the epoch of each claimed shard."""
        if not self._open:
            raise Unavailable("the store is not open")
        return dict(self._holdings)

    def _is_fenced(self, record: CommitRecord) -> bool:
        held = self._holdings.get(record.shard) if record.epoch else None
        return bool(record.epoch) and (held is None or held.epoch != record.epoch)

    def _fence(self, record: CommitRecord) -> Conflict:
        held = self._holdings.get(record.shard)
        newest = "the shard is unclaimed" if held is None else f"{held.owner} claimed it at epoch {held.epoch}"
        return Conflict(f"epoch {record.epoch} of shard {record.shard} is not the newest: {newest}", fenced=True)

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """Return up to ``limit`` living objects, sorted by id."""
        return self._table.page(namespace, type_name, prefix=prefix, after=after, limit=limit)

    async def changes(self, after: int, limit: int, *, where: ChangeFilter | None = None) -> Sequence[Change]:
        """Return up to ``limit`` changes after position ``after``, in order; with ``where``, those that it selects.

        Raises:
            CursorExpired: changes after ``after`` are no longer kept; ``oldest`` is the oldest valid cursor.
        """
        if after < self._trimmed_seq:
            raise CursorExpired(f"changes after {after} are no longer kept", oldest=str(self._trimmed_seq))
        behind: list[bytes] = []
        for seq, body in reversed(self._changes.items()):
            if seq <= after:
                break
            behind.append(body)
        selected = (
            change
            for body in reversed(behind)
            if (change := change_of(body)) is not None and (where is None or where.selects(change.key))
        )
        return list(islice(selected, limit))

    async def change(self, key: ObjectKey, commit_seq: int) -> Change | None:
        """Return the change of ``key`` at a position, or None if it is no longer kept."""
        body = self._changes.get(commit_seq)
        found = change_of(body) if body is not None else None
        return found if found is not None and found.key == key else None

    def health(self) -> StoreHealth:
        """Return the store's health. It is ready while it is open."""
        return StoreHealth(self._open, "" if self._open else "the store is not open", self._seq)

    async def living(self) -> Mapping[tuple[str, str], int]:
        """Return the number of objects that exist, by namespace and type."""
        return self._table.living()

    async def within(
        self, first: int, last: int, *, after: ObjectPlace | None = None, limit: int
    ) -> Sequence[ObjectPlace]:
        """Return up to ``limit`` objects whose hash is from ``first`` to ``last``, sorted by hash, after ``after``."""
        return await within(self._table, (first, last), after=after, limit=limit)

    def _note(self, seq: int, body: bytes) -> None:
        if len(self._changes) == self._changes_kept:
            self._trimmed_seq, _ = self._changes.popitem(last=False)
        self._changes[seq] = body
