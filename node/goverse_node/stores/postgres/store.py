"""The PostgreSQL store: the store of a cluster and its authority over shards.

The SQL functions in ``migrations/`` enforce the rules of the ports. This module calls them and handles lost
connections: reads are retried, and the outcome of a commit is looked up (``writer``).

Every two seconds, and when the writer's connection ends, the store checks whether the database has lost what it wrote
(``vigil``).
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

from goverse.errors import ConfigError, CursorExpired, StoreFailed, Unavailable
from goverse.model.call_retention import limits_of
from goverse.model.effects import FinishedCall, PendingCall
from goverse.model.keys import ObjectKey, router_number
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
from goverse.ports.store import CommitOutcome
from goverse_node.stores.hashes import signed, unsigned
from goverse_node.stores.postgres import outbox, schema
from goverse_node.stores.postgres.batches import is_brief
from goverse_node.stores.postgres.connections import Connections
from goverse_node.stores.postgres.expiry import Expired
from goverse_node.stores.postgres.failures import is_read_only, is_temporary, translated
from goverse_node.stores.postgres.housekeeping import Housekeeping, living
from goverse_node.stores.postgres.kept_size import KeptSize
from goverse_node.stores.postgres.kinds import kind_of
from goverse_node.stores.postgres.lookups import Lookups
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.rows import behind, change_of, conflict_of, object_of, reply_of
from goverse_node.stores.postgres.statements import fetch, query
from goverse_node.stores.postgres.vigil import Vigil
from goverse_node.stores.postgres.writer import Carried, Writer

T = TypeVar("T")

_READ_TRIES: Final = 4
_READ_RETRY_S: Final = 0.05
_RETRY_S: Final = 0.5
_SLICE_ROWS: Final = 500

logger = logging.getLogger("goverse.node.store")


class PostgresStore:
    """A ``Store``, an ``Outbox`` and an ``Authority`` of ``goverse.ports`` in PostgreSQL.

    Attributes:
        housekeeping: creates and drops partitions.
        kept: the size of the kept replies.
        on_reverted: called after the database has lost acknowledged calls. It must drop everything that was read from
            the database.
        certificates: the TLS context of new connections, or None. The process that opens the store must refresh it.
    """

    def __init__(self, options: PostgresOptions, *, owner: str = "local", clock: Clock | None = None) -> None:
        """Create a store in the database of ``options``. It claims shards and commits as ``owner``.

        Raises:
            ConfigError: the data source name is malformed, or its certificates are unusable.
        """
        self.on_reverted: Callable[[], None] | None = None
        self._options = options
        self._most_ms = limits_of(options.call_retention)
        self._owner = owner
        self._clock = clock or SystemClock()
        self._connections = Connections(options)
        self.certificates = self._connections.certificates
        self._vigil = Vigil(self._ask, self._go_back)
        self._going_back = asyncio.Lock()
        self._writer = Writer(
            self._connections,
            owner,
            history=lambda: self._vigil.generation,
            reverted=self._go_back,
            cut=self._vigil.look_soon,
        )
        self._load: Lookups[ObjectKey, StoredObject | None] = Lookups(self._load_all)
        self._recall: Lookups[tuple[ObjectKey, str], StoredReply | None] = Lookups(self._recall_all)
        self._receipt: Lookups[outbox.Pair, Receipt] = Lookups(partial(outbox.receipts, self._read))
        self.kept = KeptSize(options.kept_replies_bytes_max)
        self.housekeeping = Housekeeping(self._ask, options, self.kept, lambda: self._writer.base)
        self._seq = 0
        self._open = False

    # --- open and close ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and check that the schema is the one of this release.

        Raises:
            ConfigError: PostgreSQL rejects the login, or the database does not exist.
            StoreError: the schema is missing or of another release. The message contains the command to run.
            Unavailable: PostgreSQL is unavailable.
        """
        await self._connections.open()
        try:
            async with self._connections.pool.acquire() as connection:
                await schema.check(connection)
                await self._take_position(connection)
            await self._writer.open()
        except Exception as error:
            await self._connections.close()
            raise translated(error) from error
        self._open = True
        await self.housekeeping.start()
        self._vigil.start(self._writer)

    async def _take_position(self, connection: Any, *, lost: bool = False) -> None:
        """Make sure that new positions are higher than all known ones. After a loss, start a new generation.

        Positions are derived from transaction ids. A database that was restored into another server, or a standby that
        took over, can have lower transaction ids than the positions that were assigned before. It gets an offset.
        """
        while True:
            row = await connection.fetchrow(query("newest"))
            newest = max(row["newest"], self._seq)
            more = newest - row["next"] + (1 << 20) if newest >= row["next"] else 0
            if not more and not row["restored"] and not (lost and row["generation"] == self._vigil.generation):
                self._vigil.generation = row["generation"]
                break
            offset, generation = row["seq_offset"], row["generation"]
            found = await connection.fetchval(query("new_generation"), more, offset, generation)
            if found is not None:  # otherwise another node changed the feed: read it again
                logger.warning("the database was restored; the change feed continues in a new generation")
                self._vigil.generation = found
                break
        self._seq = max(self._seq, row["newest"])

    async def _go_back(self, generation: str) -> None:
        """Drop everything that was read in ``generation``, because the database has lost a part of it."""
        async with self._going_back:
            if generation != self._vigil.generation:
                return
            reason = "it was restored, or a standby that lagged behind took over"
            logger.error("the database lost acknowledged calls", extra={"reason": reason})
            self._vigil.forget_claims()
            if self.on_reverted is not None:
                self.on_reverted()
            while True:
                try:
                    await self._read(partial(self._take_position, lost=True))
                except Unavailable:  # retry without limit: continuing without a position could use positions twice
                    await asyncio.sleep(_RETRY_S)
                else:
                    break

    async def close(self) -> None:
        """Stop all background tasks and close the connections."""
        self._open = False
        await self._vigil.stop()
        await self.housekeeping.stop()
        await self._load.stop()
        await self._recall.stop()
        await self._receipt.stop()
        await self._writer.close()
        await self._connections.close()

    async def cleanup(self) -> Expired:
        """Drop the data that is past its retention. Returns what was dropped.

        Raises:
            Unavailable: as ``Housekeeping.prepare``.
        """
        return await self.housekeeping.cleanup()

    async def join(self, cluster: str, shards: int) -> int:
        """Assign the database to a cluster, or check that it belongs to that cluster already.

        Returns the number of shards that the cluster was created with, in which ``shard#N`` ids count.

        Raises:
            ConfigError: it belongs to another cluster, or the number of shards is different.
            Unavailable: PostgreSQL is unavailable.
        """
        found = await self._read(lambda connection: connection.fetchrow(query("join_cluster"), cluster, shards))
        if (found["name"], found["shards"]) != (cluster, shards):
            raise ConfigError(
                f"the database belongs to cluster {found['name']!r} with {found['shards']} shards; this node is set to "
                f"{cluster!r} with {shards}. A cluster needs its own database and one number of shards",
                setting="cluster.name" if found["name"] != cluster else "cluster.shards",
            )
        self._writer.base = found["base"]
        return self._writer.base

    # --- Store ------------------------------------------------------------------------------------------------

    def load(self, key: ObjectKey) -> Future[StoredObject | None]:
        """Return the object, a tombstone, or None if it never existed."""
        return self._load(key)

    def recall(self, key: ObjectKey, idempotency_key: str) -> Future[StoredReply | None]:
        """Return the reply that this object keeps under the key, or None if there is none or it has expired."""
        return self.kept.checked(self._recall((key, idempotency_key)))

    @property
    def kept_bytes(self) -> int:
        """The size of the kept replies on disk, as measured last."""
        return self.kept.bytes

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        """Make the batch durable. Returns one outcome per record, in order.

        While the database is unreachable, the commit waits until its outcome is known, however long that takes.

        Raises:
            Unavailable: nothing of the batch is durable. The caller may retry it.
            StoreFailed: the store is not open, or two types have the same number.
        """
        if not self._open:
            raise StoreFailed("the store is not open")
        carried = await self._writer.commit(batch)
        return [self._outcome(ordinal, record, carried) for ordinal, record in enumerate(batch)]

    def _outcome(self, ordinal: int, record: CommitRecord, carried: Carried) -> CommitOutcome:
        refused = carried.refused.get(ordinal)
        if refused is not None:
            return conflict_of(record, *refused)
        if not is_check(record):
            self._seq = max(self._seq, carried.base + ordinal)
        return self._seq

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """Return up to ``limit`` living objects, sorted by id."""
        first = prefix.encode()
        arguments = (kind_of(namespace, type_name), (after or "").encode(), first, behind(first), limit)
        rows = await self._read(lambda connection: connection.fetch(query("list"), *arguments))
        return [ObjectSummary(row["id"].decode(), row["version"]) for row in rows]

    async def changes(self, after: int, limit: int, *, where: ChangeFilter | None = None) -> Sequence[Change]:
        """Return up to ``limit`` changes after position ``after``, in order; with ``where``, those that it selects.

        Raises:
            CursorExpired: changes after ``after`` are no longer kept; ``oldest`` is the oldest valid cursor.
        """
        if where is None:
            rows = await self._read(partial(fetch, query("changes"), after, limit))
        else:
            rows = await self._selected(after, limit, where)
        trimmed = await self._read(lambda connection: connection.fetchval("SELECT trimmed_seq FROM goverse.feed"))
        if after < trimmed:
            raise CursorExpired(f"changes after {after} are no longer kept", oldest=str(trimmed))
        return [change_of(row, ObjectKey(row["namespace"], row["type"], row["id"].decode())) for row in rows]

    async def _selected(self, after: int, limit: int, where: ChangeFilter) -> Sequence[Any]:
        """Return the rows of the changes that ``where`` selects. The feed is read in slices of bounded size."""
        types = None if where.types is None else list(where.types)
        ids = None if where.ids is None else [each.encode() for each in where.ids]
        found: list[Any] = []
        while True:
            size = max(limit, _SLICE_ROWS)
            rows = await self._read(partial(fetch, query("changes_where"), after, size, where.namespace, types, ids))
            found += [row for row in rows if row["ordinal"] is not None]
            if len(found) >= limit or len(rows) < size:
                return found[:limit]
            after = rows[-1]["commit_seq"]

    # --- History and Census -----------------------------------------------------------------------------------

    async def change(self, key: ObjectKey, commit_seq: int) -> Change | None:
        """Return the change of ``key`` at a position, or None if it is no longer kept.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        arguments = (kind_of(key[0], key[1]), key[2].encode(), commit_seq)
        rows = await self._read(partial(fetch, query("change"), *arguments))
        return change_of(rows[0], key) if rows else None

    async def living(self) -> Mapping[tuple[str, str], int]:
        """Return the number of objects that exist, by namespace and type.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        return await self._read(living)

    @property
    def counted(self) -> Mapping[tuple[str, str], int]:
        """The same numbers as housekeeping counted them last, at most some minutes ago."""
        return self.housekeeping.counted

    async def within(
        self, first: int, last: int, *, after: ObjectPlace | None = None, limit: int
    ) -> Sequence[ObjectPlace]:
        """Return up to ``limit`` objects whose hash is from ``first`` to ``last``, sorted by hash, after ``after``.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        behind: tuple[int | None, int, bytes] = (None, 0, b"")
        if after is not None:
            first = max(first, after.hash)
            behind = (signed(after.hash), kind_of(after.key[0], after.key[1]), after.key[2].encode())
        rows = await self._read(partial(fetch, query("within"), signed(first), signed(last), *behind, limit))
        return [
            ObjectPlace(unsigned(row["hash"]), ObjectKey(row["namespace"], row["type"], row["id"].decode()))
            for row in rows
        ]

    def health(self) -> StoreHealth:
        """Return the store's health. It is ready while commits are accepted."""
        reason = self._writer.trouble if self._open else "the store is not open"
        return StoreHealth(not reason, reason, self._seq)

    # --- Outbox -----------------------------------------------------------------------------------------------

    async def pending(self, shards: Collection[int], *, after: int = 0, limit: int) -> Sequence[PendingCall]:
        """Return up to ``limit`` pending calls of senders in ``shards``, sorted by their numbers, all above ``after``.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        return await outbox.pending(self._read, shards, after, limit)

    async def pending_where(
        self, where: CallFilter, *, shard: int | None = None, after: tuple[int, int] | None = None, limit: int
    ) -> Sequence[PendingCall]:
        """Return pending calls as ``Outbox.pending_where`` does."""
        return await outbox.pending_where(self._read, where, shard=shard, after=after, limit=limit)

    def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Future[Receipt]:
        """Return the receipt of a pair, an empty one if there is none."""
        return self._receipt((receiver, sender))

    async def finished(
        self, where: CallFilter, *, after: tuple[int, str] | None = None, limit: int
    ) -> Sequence[FinishedCall]:
        """Return up to ``limit`` kept ends of calls, the newest first, after the place ``(finished_ms, id)``.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        return await outbox.finished(self._read, self._most_ms, where, after, limit)

    async def finished_call(
        self, namespace: str, call_id: str, *, sender: ObjectKey | None = None
    ) -> FinishedCall | None:
        """Return the kept end of the call with this id, the newest if several senders used the id.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        return await outbox.finished_call(self._read, self._most_ms, namespace, call_id, sender)

    async def count_finished(self, where: CallFilter, *, limit: int) -> int:
        """Return the number of kept ends of calls."""
        return await outbox.count_finished(self._read, self._most_ms, where, limit)

    async def forget_finished(self, where: CallFilter, *, limit: int) -> int:
        """Remove up to ``limit`` kept ends of calls, the oldest first, and return how many were removed.

        Raises:
            Unavailable: PostgreSQL is unavailable; some of them may have been removed.
        """
        return await self._ask(partial(outbox.forget_finished, self._most_ms, where, limit))

    async def forget_receipts(self) -> int:
        """Remove receipts that no delivery can need, as housekeeping does every ``RECEIPTS_ROUND``."""
        return await self.housekeeping.forget_receipts(timedelta(0))

    # --- Authority --------------------------------------------------------------------------------------------

    async def claim(self, shards: Sequence[int], owner: str) -> Mapping[int, int]:
        """Raise the epochs of ``shards`` and make ``owner`` their owner. Returns the new epochs.

        Raises:
            Unavailable: nothing was claimed, or the outcome is unknown.
        """
        rows = await self._ask(
            lambda connection: connection.fetch("SELECT * FROM goverse.claim($1, $2)", owner, sorted(set(shards)))
        )
        raised = {row["claimed"]: row["raised"] for row in rows}
        if owner == self._owner:
            self._vigil.claimed(raised)
        return raised

    async def holdings(self) -> Mapping[int, Holding]:
        """Return the owner and the epoch of each claimed shard.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        rows = await self._read(lambda connection: connection.fetch(query("holdings")))
        return {row["shard"]: Holding(row["name"], row["epoch"]) for row in rows}

    # --- queries ----------------------------------------------------------------------------------------------

    async def _load_all(self, keys: Sequence[ObjectKey]) -> Sequence[StoredObject | None]:
        kinds, ids = [kind_of(key[0], key[1]) for key in keys], [key[2].encode() for key in keys]
        rows = await self._read(lambda connection: connection.fetch(query("load"), kinds, ids))
        found = {row["place"]: row for row in rows}
        return [object_of(found.get(place)) for place in range(1, len(keys) + 1)]

    async def _recall_all(self, keys: Sequence[tuple[ObjectKey, str]]) -> Sequence[StoredReply | None]:
        found: dict[int, StoredReply] = {}
        wanted: dict[str, list[tuple[Any, ...]]] = {}
        for index, (key, used) in enumerate(keys):
            numbered = router_number(used)
            if numbered is not None:
                wanted.setdefault("recall_router", []).append((index, *numbered))
            else:
                row = (index, kind_of(key[0], key[1]), key[2].encode(), used.encode())
                wanted.setdefault("recall_brief" if is_brief(used) else "recall", []).append(row)
        for name, rows in wanted.items():
            indexes, *columns = (list(column) for column in zip(*rows, strict=True))
            kept = await self._read(partial(fetch, query(name), *columns))
            found |= {indexes[row["place"] - 1]: reply_of(row, self._clock.wall_ms()) for row in kept}
        return [found.get(index) for index in range(len(keys))]

    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run work that changes nothing. It is retried if the connection is lost."""
        for _ in range(_READ_TRIES - 1):
            try:
                return await self._ask(work)
            except Unavailable:
                await asyncio.sleep(_READ_RETRY_S)
        return await self._ask(work)

    async def _ask(self, work: Callable[[Any], Awaitable[T]]) -> T:
        if self._connections.pool is None:
            raise Unavailable("the store is not open")
        try:
            async with self._connections.pool.acquire(timeout=self._options.connect_timeout_s) as connection:
                return await work(connection)
        except Exception as error:
            if is_read_only(error):
                await self._connections.renew()
            elif not is_temporary(error):
                logger.error("PostgreSQL refused a request", exc_info=error)
            refusal = translated(error)
            if isinstance(refusal, ConfigError):  # the settings were right at the start, so this can be temporary
                raise Unavailable(f"connecting to PostgreSQL failed: {refusal.detail}") from error
            raise refusal from error
