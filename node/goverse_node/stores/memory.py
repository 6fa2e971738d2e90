"""The store's twin in memory: the same rules, nothing survives the process.

For unit tests and throw-away runs. It keeps a bounded tail of the change feed, so a reader that falls too far
behind meets the same ``CursorExpired`` as with a trimmed log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from goverse.errors import CursorExpired, StoreFailed
from goverse.limits import TOMBSTONE_RETENTION_S
from goverse.model.keys import ObjectKey
from goverse.model.records import Change, CommitRecord, ObjectSummary, StoredObject, StoredReply, StoreHealth
from goverse.ports.clock import Clock, SystemClock
from goverse.ports.store import CommitOutcome
from goverse_node.stores.table import SWEEP_PER_RECORD, Table

CHANGES_KEPT: Final = 100_000


class MemoryStore:
    """A :class:`goverse.ports.store.Store` in memory."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        changes_kept: int = CHANGES_KEPT,
        tombstone_retention_s: float = TOMBSTONE_RETENTION_S,
    ) -> None:
        """Begin empty; ``changes_kept`` bounds the change feed."""
        self._clock: Clock = clock or SystemClock()
        self._table = Table(tombstone_retention_s=tombstone_retention_s)
        self._changes: deque[Change] = deque(maxlen=changes_kept)
        self._trimmed_seq = 0
        self._seq = 0
        self._open = False

    async def open(self) -> None:
        """Be ready; what was committed before stays, as it would with a store on disk."""
        self._open = True

    async def close(self) -> None:
        """Take no more commits."""
        self._open = False

    def load(self, key: ObjectKey) -> StoredObject | None:
        """Return the object, a tombstone, or None if it never existed."""
        return self._table.load(key)

    def recall(self, key: ObjectKey, idempotency_key: str) -> StoredReply | None:
        """Return the reply kept under the key for this object, unless it expired."""
        return self._table.recall(key, idempotency_key, self._clock.wall_ms())

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        """Take over the batch; one outcome per record, in order."""
        if not self._open:
            raise StoreFailed("the store is not open")
        now_ms = self._clock.wall_ms()
        outcomes, _ = self._table.stage(batch, self._seq + 1, now_ms)
        self._table.apply_staged()
        for record, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, int):
                self._seq = outcome
                if record.changes_object:
                    self._note(Change(outcome, record.key, record.version, record.state, record.at_ms))
        self._table.sweep(now_ms, SWEEP_PER_RECORD * len(batch) + SWEEP_PER_RECORD)
        return outcomes

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """Return up to ``limit`` living objects in the order of their ids."""
        return self._table.page(namespace, type_name, prefix=prefix, after=after, limit=limit)

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        """Return up to ``limit`` changes behind ``after``, in order.

        Raises:
            CursorExpired: changes behind ``after`` are not kept any more.
        """
        if after < self._trimmed_seq:
            raise CursorExpired(f"changes behind {after} are gone", oldest=str(self._trimmed_seq))
        found: list[Change] = []
        for change in reversed(self._changes):
            if change.commit_seq <= after:
                break
            found.append(change)
        return found[::-1][:limit]

    def health(self) -> StoreHealth:
        """Tell whether commits are taken."""
        return StoreHealth(self._open, "" if self._open else "the store is not open", self._seq)

    def living(self) -> dict[tuple[str, str], int]:
        """Return how many living objects each (namespace, type) has."""
        return self._table.living()

    def _note(self, change: Change) -> None:
        if len(self._changes) == self._changes.maxlen:
            self._trimmed_seq = self._changes[0].commit_seq
        self._changes.append(change)
