"""An in-memory store and shard authority for unit tests and throw-away runs. Its data is lost with the process.

It follows the same rules as the durable stores. It keeps a bounded tail of the change feed, so a reader that falls too
far behind gets ``CursorExpired``, as it would from a store whose log was trimmed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from goverse.errors import CursorExpired, StoreFailed, Unavailable
from goverse.limits import TOMBSTONE_RETENTION_S
from goverse.model.keys import ObjectKey
from goverse.model.records import Change, CommitRecord, ObjectSummary, StoredObject, StoredReply, StoreHealth
from goverse.ports.authority import Holding, is_check
from goverse.ports.clock import Clock, SystemClock
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.stores.kept import KeptBounds
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
    ) -> None:
        """Create an empty store. ``changes_kept`` limits the change feed, ``kept`` the replies."""
        self._clock: Clock = clock or SystemClock()
        self._time = RunningTime(self._clock, self._clock.wall_ms())
        self._table = Table(tombstone_retention_s=tombstone_retention_s, kept=kept)
        self._changes: deque[Change] = deque(maxlen=changes_kept)
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
        staged, _ = self._table.stage(written, self._seq + 1, now_ms)
        self._table.apply_staged()
        for record, outcome in zip(written, staged, strict=True):
            if isinstance(outcome, int):
                self._seq = outcome
                if record.changes_object:
                    self._note(Change(outcome, record.key, record.version, record.state, record.at_ms))
        limit = SWEEP_PER_RECORD * len(batch) + SWEEP_PER_RECORD
        self._table.sweep(now_ms, limit, wall_ms=self._clock.wall_ms())
        outcomes = iter(staged)
        checked = iter([self._seq if is_check(record) else next(outcomes) for record in held])
        return [self._fence(record) if self._is_fenced(record) else next(checked) for record in batch]

    @property
    def kept_bytes(self) -> int:
        """An estimate of the memory that kept replies take."""
        return self._table.kept_bytes

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

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        """Return up to ``limit`` changes after position ``after``, in order.

        Raises:
            CursorExpired: changes after ``after`` are no longer kept; ``oldest`` is the oldest valid cursor.
        """
        if after < self._trimmed_seq:
            raise CursorExpired(f"changes after {after} are no longer kept", oldest=str(self._trimmed_seq))
        found: list[Change] = []
        for change in reversed(self._changes):
            if change.commit_seq <= after:
                break
            found.append(change)
        return found[::-1][:limit]

    def health(self) -> StoreHealth:
        """Return the store's health. It is ready while it is open."""
        return StoreHealth(self._open, "" if self._open else "the store is not open", self._seq)

    def living(self) -> dict[tuple[str, str], int]:
        """Return the number of living objects of each (namespace, type)."""
        return self._table.living()

    def _note(self, change: Change) -> None:
        if len(self._changes) == self._changes.maxlen:
            self._trimmed_seq = self._changes[0].commit_seq
        self._changes.append(change)
