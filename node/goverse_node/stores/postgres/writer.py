"""The connection that commits, and the resolution of a commit whose outcome is unknown.

Every process has a row in ``goverse.writers``, which each batch updates. If the connection is lost during a commit, the
writer resolves the outcome through that row. The request waits for a transaction that is still running, returns whether
the batch was committed, and raises the session number, so that the batch can never be committed later. This takes time,
but the batch is committed at most once.

The row also reveals that the database is older than it was, after a restore or after a failover to a standby that
lagged behind: the row is missing, or its batch is older than the last acknowledged one. Then the writer creates a new
row and calls ``reverted``, because the process can have newer data in memory than the database.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from secrets import randbits
from typing import Any, Final, NamedTuple

from goverse.errors import Executed, GoverseError, StoreFailed, Unavailable, known
from goverse.limits import CLUSTER_SHARDS
from goverse.model.records import CommitRecord
from goverse_node.stores.postgres import batches, effects
from goverse_node.stores.postgres.batches import NUMBERS
from goverse_node.stores.postgres.connections import Connections
from goverse_node.stores.postgres.driver import asyncpg
from goverse_node.stores.postgres.failures import CONFLICT, GIVEN_UP, is_read_only, is_temporary, translated
from goverse_node.stores.postgres.kinds import kind_of
from goverse_node.stores.postgres.statements import query

RETRY_S: Final = 0.05
RETRY_S_MAX: Final = 2.0

_WAIT_FOR_STANDBYS: Final = "SyncRepWaitForLSN"  # the server's function: its messages come in many languages
_UNDONE: Final = (asyncpg.TransactionRollbackError, asyncpg.QueryCanceledError)

logger = logging.getLogger("goverse.node.store")


class Carried(NamedTuple):
    """A batch that was committed.

    Attributes:
        base: its first position.
        refused: reason and detail of each record that was refused, by its ordinal in the batch.
    """

    base: int
    refused: Mapping[int, tuple[str, int]]


_REVERTED: Final = (
    "the database lost acknowledged calls: it was restored, or a standby that lagged behind took over; this call has "
    "no effect in the present database"
)


class _Reverted(Exception):
    """The database lost acknowledged calls: it was restored, or a standby that lagged behind took over.

    The current batch has no effect in the present database.
    """


class Writer:
    """Commits batches, one at a time.

    Attributes:
        trouble: the reason why nothing can be committed now; empty if commits work.
        carried: the number of the last batch that is known to be committed.
        base: the number of shards with which the cluster was created; hashes depend on it.
        number: the primary key of the writer's row.
    """

    def __init__(
        self,
        connections: Connections,
        owner: str,
        *,
        history: Callable[[], str],
        reverted: Callable[[str], Awaitable[None]],
        cut: Callable[[], None],
    ) -> None:
        """Create a writer that is not connected yet.

        Args:
            connections: opens the connection that commits.
            owner: the name under which this process claims shards.
            history: returns the generation of the feed that this process knows.
            reverted: called with that generation when acknowledged batches are missing in the database.
            cut: called when the connection has ended.
        """
        self.trouble = ""
        self.carried = 0
        self.number = 0
        self._connections = connections
        self._owner_name = owner
        self._history = history
        self._reverted = reverted
        self._cut = cut
        self.base = CLUSTER_SHARDS
        self._owner = self._session = self._batch = 0
        self._connection: Any = None
        self._unsure = False
        self._named: set[tuple[str, str]] = set()
        self._turn = asyncio.Lock()

    @property
    def owner(self) -> int:
        """The number of the owner in the database."""
        return self._owner

    async def open(self) -> None:
        """Connect and create the writer's row.

        Raises:
            GoverseError: the database is unavailable, or a session does not get the settings that it needs.
        """
        self._connection = await self._connect()
        await self._take_row(self._connection)

    async def _take_row(self, connection: Any) -> None:
        number = randbits(63)
        row = await connection.fetchrow(query("open_writer"), number, self._owner_name)
        self.number, self._owner, self._session = number, row["owner"], row["session"]
        self.carried = self._batch = 0
        self._named.clear()

    async def renew(self, number: int) -> bool:
        """Create a new row in place of ``number``, which the database has lost. Returns False if it was done already.

        Raises:
            Unavailable: the database is unavailable.
        """
        async with self._turn:
            if self.number != number:
                return False
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._reconnect()
            if self._connection is None:
                raise Unavailable(self.trouble)
            await self._take_row(self._connection)
            self.trouble = ""
            return True

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connections.hang_up(self._connection)
            self._connection = None

    async def commit(self, batch: Sequence[CommitRecord]) -> Carried:
        """Commit a batch. Returns when the outcome is known, however long that takes.

        Raises:
            Unavailable: nothing of the batch is durable. PostgreSQL refused it, or lost calls that precede it.
            StoreFailed: two types have the same number.
        """
        async with self._turn:
            self._batch += 1
            history = self._history()
            with suppress(_Reverted):
                carried = await self._carry_through(batch)
                self.carried = self._batch
                return carried
        await self._reverted(history)
        raise known(Unavailable(_REVERTED), Executed.UNKNOWN)

    async def _carry_through(self, batch: Sequence[CommitRecord]) -> Carried:
        pauses = _pauses()
        while True:
            try:
                carried = await self._attempt(batch)
            except Exception as error:
                if not self._is_lost(error):
                    raise translated(error) from error
                self._note_trouble(error)
            else:
                self.trouble = ""
                return carried
            found = await self._find_out(pauses)
            self.trouble = ""
            if found is not None:
                return found

    async def _find_out(self, pauses: Iterator[float]) -> Carried | None:
        """Reconnect and resolve the outcome of the batch, however long that takes. Returns as ``_resolve`` does."""
        while True:
            await asyncio.sleep(next(pauses))
            connection = await self._reconnect()
            if connection is None:
                continue
            try:
                return await self._resolve(connection)
            except _Reverted:
                raise
            except Exception as error:
                if isinstance(error, asyncpg.PostgresError) and not is_temporary(error):
                    raise translated(error) from error
                self._note_trouble(error)

    async def _attempt(self, batch: Sequence[CommitRecord]) -> Carried:
        if self._connection is None:
            raise ConnectionError("not connected")
        with_effects = [record for record in batch if record.effects is not None]
        kinds = {record.key[:2] for record in batch}
        if with_effects:
            kinds.update(effects.kinds_of(with_effects))
        await self._name_kinds(kinds - self._named)
        self._unsure = False
        carried = await (self._carry_out_with_effects(batch) if with_effects else self._carry_out(batch))
        self._check_standbys()
        return carried

    async def _carry_out(self, batch: Sequence[CommitRecord]) -> Carried:
        head = (self.number, self._owner, self._session, self.carried, self._batch)
        folded = batches.folded(batch, self.base)
        if folded is not None:
            try:
                base = await self._connection.fetchval(_COMMIT_BATCH, *head, *folded)
            except asyncpg.PostgresError as error:
                if error.sqlstate != CONFLICT:
                    raise
            else:
                return Carried(base, {})
        answer = json.loads(await self._connection.fetchval(_COMMIT_EACH, *head, *batches.each(batch, self.base)))
        return Carried(answer["base"], _refused(answer["refused"]))

    async def _carry_out_with_effects(self, batch: Sequence[CommitRecord]) -> Carried:
        head = (self.number, self._owner, self._session, self.carried, self._batch)
        folded = effects.folded(batch, self.base)
        if folded is not None:
            try:
                return Carried(await self._connection.fetchval(effects.COMMIT_BATCH, *head, *folded), {})
            except asyncpg.PostgresError as error:
                if error.sqlstate != CONFLICT:
                    raise
        each = effects.each(batch, self.base)
        answer = json.loads(await self._connection.fetchval(effects.COMMIT_EACH, *head, *each))
        return Carried(answer["base"], _refused(answer["refused"]))

    async def _name_kinds(self, missing: set[tuple[str, str]]) -> None:
        """Store the names of these kinds in the database, and check that no other kind has the same number."""
        for kind in missing:
            row = await self._connection.fetchrow(query("name_kind"), kind_of(*kind), *kind)
            if tuple(row) != kind:
                raise StoreFailed(f"the types {kind} and {tuple(row)} have the same number; rename one of them")
            self._named.add(kind)

    async def _reconnect(self) -> Any:
        """Return a new connection, or None if connecting fails.

        Every failure counts as temporary, even a rejected password or a missing setting, because the outcome of the
        batch is unknown until there is a connection.
        """
        if self._connection is not None:
            await self._connections.hang_up(self._connection)
            self._connection = None
        self._unsure = False
        try:
            return await self._connect()
        except Exception as error:
            self._note_trouble(error)
            return None

    async def _resolve(self, connection: Any) -> Carried | None:
        """Return the outcome of the batch, or None if it was not committed and never will be.

        Raises:
            _Reverted: the database has lost acknowledged batches.
        """
        row = await connection.fetchrow(query("resolve"), self.number)
        if row is None or row["batch"] not in (self.carried, self._batch):
            await self._take_row(connection)
            self._connection = connection
            raise _Reverted
        if self._unsure:
            await self._connections.hang_up(connection)
        self._check_standbys()
        self._connection, self._session = connection, row["session"]
        self._named.clear()  # after a failover, the new server may lack the latest rows of goverse.kinds
        if row["batch"] != self._batch:
            return None
        return Carried(row["base"], _refused(json.loads(row["refused"] or "{}")))

    async def _connect(self) -> Any:
        connection = await self._connections.dedicated()
        connection.add_log_listener(self._heard)
        connection.add_termination_listener(self._ended)
        return connection

    def _ended(self, _connection: Any) -> None:
        self._cut()

    def _heard(self, _connection: Any, message: Any) -> None:
        """Remember that a wait for a synchronous standby was cancelled. The server reports success and only warns."""
        if getattr(message, "server_source_function", "") == _WAIT_FOR_STANDBYS:
            self._unsure = True

    def _check_standbys(self) -> None:
        """Check that the last commit has reached the synchronous standbys, if there are any.

        If it has not, the caller resolves the batch again. That request writes to the database, so its commit waits for
        the standbys to receive everything before it.

        Raises:
            ConnectionError: the wait for the standbys was cancelled. A standby without the commit may take over.
        """
        if self._unsure:
            raise ConnectionError("the wait for the synchronous standby was cancelled")

    def _is_lost(self, error: Exception) -> bool:
        """True if the outcome of the batch is unknown, or if the batch can be tried again.

        An error of the server is final only if the connection is still open: then nothing was committed. These errors
        are retried nevertheless:

        * The server is read-only. It may become writable, or another server is the primary.
        * The transaction was rolled back, or the statement was cancelled by its timeout or by an operator.
        * The batch was given up (``GIVEN_UP``): its session or its row is not the current one.
        """
        if isinstance(error, GoverseError):
            return False
        if is_read_only(error) or getattr(error, "sqlstate", "") == GIVEN_UP:
            return True
        if not isinstance(error, asyncpg.PostgresError) or isinstance(error, _UNDONE):
            return True
        return self._connection is None or bool(self._connection.is_closed())

    def _note_trouble(self, error: BaseException) -> None:
        reason = translated(error).detail
        if not self.trouble:
            logger.error("commits are waiting for PostgreSQL", extra={"reason": reason})
        self.trouble = reason


def _pauses() -> Iterator[float]:
    pause_s = RETRY_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, RETRY_S_MAX)


def _refused(answer: Mapping[str, Sequence[Any]]) -> dict[int, tuple[str, int]]:
    return {int(ordinal): (why[0], why[1]) for ordinal, why in answer.items()}


def _function(name: str, types: Sequence[str]) -> str:
    """Return the SQL that calls a function. Columns of numbers are passed as text (``batches.NUMBERS``)."""
    types = (*batches.HEAD, *types)
    given = (f"${at}::text::{each}" if each in NUMBERS else f"${at}" for at, each in enumerate(types, 1))
    return f"SELECT goverse.{name}({', '.join(given)})"


_COMMIT_BATCH: Final = _function("commit_batch", batches.BATCH_TYPES)
_COMMIT_EACH: Final = _function("commit_each", batches.EACH_TYPES)
