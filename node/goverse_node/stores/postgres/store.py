"""``PostgresStore``: the store of a cluster, and its authority over shards.

Rules of the ports are kept by the SQL functions (``migrations/``); here are the conversation with them, and what a lost
connection means: reads are tried again, commits are resolved (``writer``).
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from goverse.errors import ConfigError, CursorExpired, StoreFailed, Unavailable
from goverse.model.keys import ObjectKey, router_number
from goverse.model.records import Change, CommitRecord, ObjectSummary, StoredObject, StoredReply, StoreHealth
from goverse.ports.authority import Holding, is_check
from goverse.ports.clock import Clock, SystemClock
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.stores.postgres import schema
from goverse_node.stores.postgres.connections import Connections
from goverse_node.stores.postgres.database_clock import DatabaseClock
from goverse_node.stores.postgres.expiry import Expired
from goverse_node.stores.postgres.failures import is_read_only, passes, told
from goverse_node.stores.postgres.housekeeping import Housekeeping
from goverse_node.stores.postgres.kept_size import KeptSize
from goverse_node.stores.postgres.kinds import kind_of
from goverse_node.stores.postgres.lookups import Lookups
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.statements import query
from goverse_node.stores.postgres.writer import Carried, Writer

T = TypeVar("T")

_READ_TRIES: Final = 4
_READ_RETRY_S: Final = 0.05

logger = logging.getLogger("goverse.node.store")


class PostgresStore:
    """Implements ``goverse.ports.store.Store`` and ``goverse.ports.authority.Authority``.

    Attributes:
        housekeeping: makes and drops partitions.
        kept: the size of kept replies.
    """

    def __init__(self, options: PostgresOptions, *, owner: str = "local", clock: Clock | None = None) -> None:
        """Keep objects in the database that ``options`` name; shards are claimed and written as ``owner``.

        Raises:
            ConfigError: the certificates that ``options`` name are of no use.
        """
        self._options = options
        self._clock = DatabaseClock(clock or SystemClock())
        self._connections = Connections(options)
        self.certificates = self._connections.certificates  # somebody has to have them look at their files
        self._writer = Writer(self._connections, owner, self._clock)
        self._load: Lookups[ObjectKey, StoredObject | None] = Lookups(self._load_all)
        self._recall: Lookups[tuple[ObjectKey, str], StoredReply | None] = Lookups(self._recall_all)
        self.kept = KeptSize(options.kept_replies_bytes_max)
        self.housekeeping = Housekeeping(self._ask, options, self._clock, self.kept)
        self._seq = 0
        self._open = False

    # --- life -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and check that the schema is ours.

        Raises:
            ConfigError: PostgreSQL refuses the user or has no such database.
            StoreError: the schema is missing or of another release; says what to run.
            Unavailable: PostgreSQL does not answer.
        """
        await self._connections.open()
        try:
            async with self._connections.pool.acquire() as connection:
                await schema.check(connection)
                await self._clock.compare(connection)
                await self._take_position(connection)
            await self._writer.open()
        except Exception as error:
            await self._connections.close()
            raise told(error) from error
        self._open = True
        await self.housekeeping.start()

    async def _take_position(self, connection: Any) -> None:
        """Continue behind the newest position; a restored database, whose transactions begin lower, gets an offset."""
        row = await connection.fetchrow(query("newest"))
        if row["newest"] >= row["next"]:
            more = row["newest"] - row["next"] + (1 << 20)
            await connection.execute(query("new_generation"), more, row["seq_offset"])
            logger.warning("the database was restored from another server; positions go on in a new generation")
        self._seq = max(self._seq, row["newest"])

    async def close(self) -> None:
        """Hang up."""
        self._open = False
        await self.housekeeping.stop()
        await self._load.stop()
        await self._recall.stop()
        await self._writer.close()
        await self._connections.close()

    async def cleanup(self) -> Expired:
        """Drop what is past its retention; return what that was.

        Raises:
            Unavailable: as ``Housekeeping.prepare``.
        """
        return await self.housekeeping.cleanup()

    async def join(self, cluster: str, shards: int) -> None:
        """Take the database for a cluster, or check that it is that cluster's already.

        Raises:
            ConfigError: it belongs to another cluster, or to one with another number of shards.
            Unavailable: PostgreSQL does not answer.
        """
        found = await self._read(lambda connection: connection.fetchrow(query("join_cluster"), cluster, shards))
        if tuple(found) != (cluster, shards):
            raise ConfigError(
                f"the database belongs to cluster {found['name']!r} with {found['shards']} shards; this node is set to "
                f"{cluster!r} with {shards}. A cluster needs a database of its own, and one number of shards",
                setting="cluster.name" if found["name"] != cluster else "cluster.shards",
            )

    # --- Store ------------------------------------------------------------------------------------------------

    def load(self, key: ObjectKey) -> Future[StoredObject | None]:
        """Return the object, a tombstone, or None if it never existed."""
        return self._load(key)

    def recall(self, key: ObjectKey, idempotency_key: str) -> Future[StoredReply | None]:
        """Return the reply kept under the key for this object, unless it expired."""
        return self.kept.checked(self._recall((key, idempotency_key)))

    @property
    def kept_bytes(self) -> int:
        """The disk that kept replies take, as measured last."""
        return self.kept.bytes

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        """Make the batch durable; one outcome per record, in order.

        Raises:
            Unavailable: nothing of the batch is durable; it may be tried again.
            StoreFailed: the database is another one now.
        """
        if not self._open:
            raise StoreFailed("the store is not open")
        carried = await self._writer.commit(batch)
        return [self._outcome(ordinal, record, carried) for ordinal, record in enumerate(batch)]

    def _outcome(self, ordinal: int, record: CommitRecord, carried: Carried) -> CommitOutcome:
        refused = carried.refused.get(ordinal)
        if refused is not None:
            return _conflict(record, *refused)
        if not is_check(record):
            self._seq = max(self._seq, carried.base + ordinal)
        return self._seq

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """Return up to ``limit`` living objects in the order of their ids."""
        first = prefix.encode()
        arguments = (kind_of(namespace, type_name), (after or "").encode(), first, _behind(first), limit)
        rows = await self._read(lambda connection: connection.fetch(query("list"), *arguments))
        return [ObjectSummary(row["id"].decode(), row["version"]) for row in rows]

    async def changes(self, after: int, limit: int) -> Sequence[Change]:
        """Return up to ``limit`` changes behind ``after``, in order.

        Raises:
            CursorExpired: changes behind ``after`` are not kept any more.
        """
        rows = await self._read(lambda connection: connection.fetch(query("changes"), after, limit))
        trimmed = await self._read(lambda connection: connection.fetchval("SELECT trimmed_seq FROM goverse.feed"))
        if after < trimmed:
            raise CursorExpired(f"changes behind {after} are gone", oldest=str(trimmed))
        return [
            Change(
                row["commit_seq"],
                ObjectKey(row["namespace"], row["type"], row["id"].decode()),
                row["version"],
                row["state"],
                row["at_ms"],
            )
            for row in rows
        ]

    def health(self) -> StoreHealth:
        """Tell whether commits are taken."""
        reason = self._writer.trouble if self._open else "the store is not open"
        return StoreHealth(not reason, reason, self._seq)

    # --- Authority --------------------------------------------------------------------------------------------

    async def claim(self, shards: Sequence[int], owner: str) -> Mapping[int, int]:
        """Raise the epochs of ``shards`` in the name of ``owner``.

        Raises:
            Unavailable: nothing was claimed, or it is not known whether it was.
        """
        rows = await self._ask(
            lambda connection: connection.fetch("SELECT * FROM goverse.claim($1, $2)", owner, sorted(set(shards)))
        )
        return {row["claimed"]: row["raised"] for row in rows}

    async def holdings(self) -> Mapping[int, Holding]:
        """Return who claimed each shard last.

        Raises:
            Unavailable: PostgreSQL does not answer.
        """
        rows = await self._read(lambda connection: connection.fetch(query("holdings")))
        return {row["shard"]: Holding(row["name"], row["epoch"]) for row in rows}

    # --- asking -----------------------------------------------------------------------------------------------

    async def _load_all(self, keys: Sequence[ObjectKey]) -> Sequence[StoredObject | None]:
        kinds, ids = [kind_of(key[0], key[1]) for key in keys], [key[2].encode() for key in keys]
        rows = await self._read(lambda connection: connection.fetch(query("load"), kinds, ids))
        found = {row["place"]: row for row in rows}
        return [_object(found.get(place)) for place in range(1, len(keys) + 1)]

    async def _recall_all(self, questions: Sequence[tuple[ObjectKey, str]]) -> Sequence[StoredReply | None]:
        now_ms, ahead_ms = self._clock.now_ms(), self._clock.ahead_ms
        found: dict[int, StoredReply] = {}
        numbered = [router_number(used) for _, used in questions]
        chosen = [
            (place, kind_of(key[0], key[1]), key[2].encode(), used.encode())
            for place, (key, used) in enumerate(questions)
            if numbered[place] is None
        ]
        for name, rows in (
            ("recall", chosen),
            ("recall_router", [(place, *each) for place, each in enumerate(numbered) if each is not None]),
        ):
            if rows:
                places, *columns = (list(column) for column in zip(*rows, strict=True))
                kept = await self._read(partial(_fetch, query(name), *columns, now_ms))
                found |= {places[row["place"] - 1]: _reply(row, ahead_ms) for row in kept}
        return [found.get(place) for place in range(len(questions))]

    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Ask something that changes nothing; a lost connection is no reason to fail."""
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
            elif not passes(error):
                logger.error("PostgreSQL refused a request", exc_info=error)
            raise told(error) from error


def _object(row: Any) -> StoredObject | None:
    if row is None:
        return None
    return StoredObject(row["version"], row["state"], row["state_version"], row["commit_seq"], row["modified_ms"])


def _reply(row: Any, ahead_ms: int) -> StoredReply:
    return StoredReply(row["fingerprint"], row["reply"], row["expires_ms"] + ahead_ms, row["commit_seq"])


async def _fetch(statement: str, *rest: Any) -> Any:
    """Ask with what comes before the connection."""
    *arguments, connection = rest
    return await connection.fetch(statement, *arguments)


def _conflict(record: CommitRecord, why: str, present: int) -> Conflict:
    if why == "fenced":
        return Conflict(
            f"epoch {record.epoch} of shard {record.shard} is not the newest, which is {present}", fenced=True
        )
    if why == "key":
        return Conflict(f"{record.key} keeps a reply under this key already")
    return Conflict(f"{record.key} is at version {present}, not {record.expected}")


def _behind(prefix: bytes) -> bytes | None:
    """Return the smallest bytes behind all that begin with ``prefix``; None where there are none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None
