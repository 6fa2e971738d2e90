"""The one connection that commits, and the fate of a batch whose answer was lost.

Every process has a row in ``goverse.writers`` that each batch updates. After a connection was lost in a commit the
writer asks that row: the request waits for a transaction that is still under way, tells if the batch was carried out,
and raises the session, so that the batch can never be carried out later. That costs time and never correctness.

The row also shows when the database is an older one: after a restore, or when a standby that lagged behind took over,
it is missing or at a batch before the last acknowledged one. Then nothing is committed under it any more; the writer
takes another row, and ``reverted`` is called, since what the process has in memory may be newer than the database.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from secrets import randbits
from typing import Any, Final, NamedTuple

from goverse.errors import GoverseError, StoreFailed, Unavailable
from goverse.model.records import CommitRecord
from goverse_node.stores.postgres import batches
from goverse_node.stores.postgres.batches import NUMBERS
from goverse_node.stores.postgres.connections import Connections
from goverse_node.stores.postgres.driver import asyncpg
from goverse_node.stores.postgres.failures import CONFLICT, GIVEN_UP, is_read_only, passes, told
from goverse_node.stores.postgres.kinds import kind_of
from goverse_node.stores.postgres.statements import query

RETRY_S: Final = 0.05
RETRY_S_MAX: Final = 2.0

_WAIT_FOR_STANDBYS: Final = "SyncRepWaitForLSN"  # the server's function: its messages come in many languages
_UNDONE: Final = (asyncpg.TransactionRollbackError, asyncpg.QueryCanceledError)

logger = logging.getLogger("goverse.node.store")


class Carried(NamedTuple):
    """A batch that was carried out: its first position, and why records in it were refused, by ordinal."""

    base: int
    refused: Mapping[int, tuple[str, int]]


_REVERTED: Final = (
    "the database lost acknowledged calls: it was restored, or a standby that lagged behind took over; this call had "
    "no effect in it"
)


class _Reverted(Exception):
    """The database lost acknowledged calls: it was restored, or a standby that lagged behind took over.

    The batch under way had no effect in it.
    """


class Writer:
    """Commits batches, one at a time.

    Attributes:
        trouble: why nothing can be committed now, or empty.
        carried: the number of the last batch that is known to be carried out.
        number: the writer's row.
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
        """Write as ``owner``.

        Args:
            connections: makes the connection that commits.
            owner: the name under which shards are claimed.
            history: gives the generation of the feed that this process knows.
            reverted: called when batches that were acknowledged in that history are missing in the database.
            cut: called when the connection ended.
        """
        self.trouble = ""
        self.carried = 0
        self.number = 0
        self._connections = connections
        self._owner_name = owner
        self._history = history
        self._reverted = reverted
        self._cut = cut
        self._owner = self._session = self._batch = 0
        self._connection: Any = None
        self._unsure = False
        self._named: set[tuple[str, str]] = set()
        self._turn = asyncio.Lock()

    @property
    def owner(self) -> int:
        """The number that the database has for the owner."""
        return self._owner

    async def open(self) -> None:
        """Take a row of our own.

        Raises:
            GoverseError: the database is not there, or not as it has to be.
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
        """Take another row in the place of ``number``, which the database lost; False if that was done already.

        Raises:
            Unavailable: the database does not answer.
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
        """Hang up."""
        if self._connection is not None:
            await self._connections.hang_up(self._connection)
            self._connection = None

    async def commit(self, batch: Sequence[CommitRecord]) -> Carried:
        """Carry a batch out, however long that takes.

        Raises:
            Unavailable: nothing of it is durable: PostgreSQL refused it, or lost what it builds on.
            StoreFailed: two types have one number.
        """
        async with self._turn:
            self._batch += 1
            history = self._history()
            with suppress(_Reverted):
                carried = await self._carry_through(batch)
                self.carried = self._batch
                return carried
        await self._reverted(history)
        raise Unavailable(_REVERTED, executed="unknown")

    async def _carry_through(self, batch: Sequence[CommitRecord]) -> Carried:
        pauses = _pauses()
        while True:
            try:
                carried = await self._attempt(batch)
            except Exception as error:
                if not self._is_lost(error):
                    raise told(error) from error
                self._note_trouble(error)
            else:
                self.trouble = ""
                return carried
            found = await self._find_out(pauses)
            self.trouble = ""
            if found is not None:
                return found

    async def _find_out(self, pauses: Iterator[float]) -> Carried | None:
        """Connect and tell what became of the batch, however long that takes; as ``_resolve``."""
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
                if isinstance(error, asyncpg.PostgresError) and not passes(error):
                    raise told(error) from error
                self._note_trouble(error)

    async def _attempt(self, batch: Sequence[CommitRecord]) -> Carried:
        if self._connection is None:
            raise ConnectionError("not connected")
        await self._name_kinds({record.key[:2] for record in batch} - self._named)
        self._unsure = False
        carried = await self._carry_out(batch)
        self._check_standbys()
        return carried

    async def _carry_out(self, batch: Sequence[CommitRecord]) -> Carried:
        head = (self.number, self._owner, self._session, self.carried, self._batch)
        folded = batches.folded(batch)
        if folded is not None:
            try:
                base = await self._connection.fetchval(_COMMIT_BATCH, *head, *folded)
            except asyncpg.PostgresError as error:
                if error.sqlstate != CONFLICT:
                    raise
            else:
                return Carried(base, {})
        answer = json.loads(await self._connection.fetchval(_COMMIT_EACH, *head, *batches.each(batch)))
        return Carried(answer["base"], _refused(answer["refused"]))

    async def _name_kinds(self, missing: set[tuple[str, str]]) -> None:
        """Say in the database what the numbers of these kinds stand for."""
        for kind in missing:
            row = await self._connection.fetchrow(query("name_kind"), kind_of(*kind), *kind)
            if tuple(row) != kind:
                raise StoreFailed(f"the types {kind} and {tuple(row)} have the same number; rename one of them")
            self._named.add(kind)

    async def _reconnect(self) -> Any:
        """Return a new connection, or None if that is not possible now.

        A refusal (of the password, or of a session that lacks a setting) is waited out as well: the fate of the batch
        is unknown until a connection is there.
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
        """Tell what became of the batch; None where it was not and will never be carried out.

        Raises:
            _Reverted: the database lost batches that were acknowledged.
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
        self._named.clear()  # another server may have taken over that does not have the latest
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
        """Note that the server gave up waiting for its standby: it says so in passing, and reports success."""
        if getattr(message, "server_source_function", "") == _WAIT_FOR_STANDBYS:
            self._unsure = True

    def _check_standbys(self) -> None:
        """Make sure that what was just carried out is on the synchronous standbys as well, where there are any.

        Asking what became of a batch writes, and so waits for everything before it.

        Raises:
            ConnectionError: the wait for them was cancelled; another server may take over without it.
        """
        if self._unsure:
            raise ConnectionError("the wait for the synchronous standby was cancelled")

    def _is_lost(self, error: Exception) -> bool:
        """Tell if the fate of the batch is unknown, or it may be tried again.

        Only what the server itself said on a connection that lives shows that nothing was done. A server that takes no
        writes is waited for, or left for the one that does; a statement that was cancelled, by its time limit or by an
        operator, is sent again. A batch that was given up meets a row that is not ours any more.
        """
        if isinstance(error, GoverseError):
            return False
        if is_read_only(error) or getattr(error, "sqlstate", "") == GIVEN_UP:
            return True
        if not isinstance(error, asyncpg.PostgresError) or isinstance(error, _UNDONE):
            return True
        return self._connection is None or bool(self._connection.is_closed())

    def _note_trouble(self, error: BaseException) -> None:
        reason = told(error).detail
        if not self.trouble:
            logger.error("commits wait for PostgreSQL", extra={"reason": reason})
        self.trouble = reason


def _pauses() -> Iterator[float]:
    pause_s = RETRY_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, RETRY_S_MAX)


def _refused(answer: Mapping[str, Sequence[Any]]) -> dict[int, tuple[str, int]]:
    return {int(ordinal): (why[0], why[1]) for ordinal, why in answer.items()}


def _function(name: str, types: Sequence[str]) -> str:
    """Return the call of a function; columns of numbers come as text (``batches.as_text``)."""
    given = (f"${at}::text::{kind}" if kind in NUMBERS else f"${at}" for at, kind in enumerate((*_HEAD, *types), 1))
    return f"SELECT goverse.{name}({', '.join(given)})"


_HEAD: Final = ("bigint", "integer", "integer", "bigint", "bigint")
"""Writer, owner, session, the last batch that was carried out, this batch."""
_COMMIT_BATCH: Final = _function("commit_batch", batches.BATCH_TYPES)
_COMMIT_EACH: Final = _function("commit_each", batches.EACH_TYPES)
