"""``PostgresStore``: the store of a cluster, and its authority over shards.

Rules of the ports are kept by the SQL functions (``migrations/``); here are the conversation with them, and what a lost
connection means: reads are tried again, commits are resolved (``writer``).

Every two seconds, and when the connection that commits ends, the store looks for signs that the database is older than
what it wrote (``vigil``).
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
from goverse_node.stores.postgres.batches import is_brief
from goverse_node.stores.postgres.connections import Connections
from goverse_node.stores.postgres.expiry import Expired
from goverse_node.stores.postgres.failures import is_read_only, passes, told
from goverse_node.stores.postgres.housekeeping import Housekeeping
from goverse_node.stores.postgres.kept_size import KeptSize
from goverse_node.stores.postgres.kinds import kind_of
from goverse_node.stores.postgres.lookups import Lookups
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.statements import query
from goverse_node.stores.postgres.vigil import Vigil
from goverse_node.stores.postgres.writer import Carried, Writer

T = TypeVar("T")

_READ_TRIES: Final = 4
_READ_RETRY_S: Final = 0.05
_RETRY_S: Final = 0.5

logger = logging.getLogger("goverse.node.store")


class PostgresStore:
    """Implements ``goverse.ports.store.Store`` and ``goverse.ports.authority.Authority``.

    Attributes:
        housekeeping: makes and drops partitions.
        kept: the size of kept replies.
        on_reverted: called after the database lost acknowledged calls; has to drop everything that was read from it.
    """

    def __init__(self, options: PostgresOptions, *, owner: str = "local", clock: Clock | None = None) -> None:
        """Keep objects in the database that ``options`` name; shards are claimed and written as ``owner``.

        Raises:
            ConfigError: the certificates that ``options`` name are of no use.
        """
        self.on_reverted: Callable[[], None] | None = None
        self._options = options
        self._owner = owner
        self._clock = clock or SystemClock()
        self._connections = Connections(options)
        self.certificates = self._connections.certificates  # the process that opens the store has to refresh them
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
        self.kept = KeptSize(options.kept_replies_bytes_max)
        self.housekeeping = Housekeeping(self._ask, options, self.kept)
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
                await self._take_position(connection)
            await self._writer.open()
        except Exception as error:
            await self._connections.close()
            raise told(error) from error
        self._open = True
        await self.housekeeping.start()
        self._vigil.start(self._writer)

    async def _take_position(self, connection: Any, *, lost: bool = False) -> None:
        """Continue behind every position that is known, in a new generation where the database is not what it was.

        A database that was restored into another server, and a standby that took over, may have lower transaction ids
        than positions that were given away; it gets an offset.
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
            if found is not None:  # else another node did it
                logger.warning("the database was restored; the change feed goes on in a new generation")
                self._vigil.generation = found
                break
        self._seq = max(self._seq, row["newest"])

    async def _go_back(self, generation: str) -> None:
        """Drop what was read in a generation that the database lost a part of."""
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
                except Unavailable:  # or positions would be used twice
                    await asyncio.sleep(_RETRY_S)
                else:
                    break

    async def close(self) -> None:
        """Hang up."""
        self._open = False
        await self._vigil.stop()
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
        raised = {row["claimed"]: row["raised"] for row in rows}
        if owner == self._owner:
            self._vigil.claimed(raised)
        return raised

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
        found: dict[int, StoredReply] = {}
        asked: dict[str, list[tuple[Any, ...]]] = {}
        for place, (key, used) in enumerate(questions):
            numbered = router_number(used)
            if numbered is not None:
                asked.setdefault("recall_router", []).append((place, *numbered))
            else:
                row = (place, kind_of(key[0], key[1]), key[2].encode(), used.encode())
                asked.setdefault("recall_brief" if is_brief(used) else "recall", []).append(row)
        for name, rows in asked.items():
            places, *columns = (list(column) for column in zip(*rows, strict=True))
            kept = await self._read(partial(_fetch, query(name), *columns))
            found |= {places[row["place"] - 1]: _reply(row, self._clock.wall_ms()) for row in kept}
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
            refusal = told(error)
            if isinstance(refusal, ConfigError):  # of a connection made later: the settings were right at the start
                raise Unavailable(f"no connection to PostgreSQL: {refusal.detail}") from error
            raise refusal from error


def _object(row: Any) -> StoredObject | None:
    if row is None:
        return None
    return StoredObject(row["version"], row["state"], row["state_version"], row["commit_seq"], row["modified_ms"])


def _reply(row: Any, now_ms: int) -> StoredReply:
    return StoredReply(row["fingerprint"], row["reply"], now_ms + row["left_ms"], row["commit_seq"])


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
