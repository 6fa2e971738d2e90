"""The one connection that commits, and what became of a batch whose answer was lost.

Every process has a row in ``goverse.writers`` that each batch updates. Whoever lost its connection in a commit asks
that row: it waits for a transaction that is still under way, tells whether the batch was carried out, and raises the
session, so that the batch can never be carried out later. That costs time and never correctness.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from goverse.errors import GoverseError, StoreFailed
from goverse.model.records import CommitRecord
from goverse_node.stores.postgres import batches
from goverse_node.stores.postgres.batches import NUMBERS
from goverse_node.stores.postgres.connections import Connections
from goverse_node.stores.postgres.database_clock import DatabaseClock
from goverse_node.stores.postgres.driver import asyncpg
from goverse_node.stores.postgres.failures import CONFLICT, is_read_only, passes, told
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


class Writer:
    """Commits batches, one at a time.

    Attributes:
        trouble: why nothing can be committed now, or empty.
    """

    def __init__(self, connections: Connections, owner: str, clock: DatabaseClock) -> None:
        """Write as ``owner``; replies expire by ``clock``."""
        self._clock = clock
        self.trouble = ""
        self._connections = connections
        self._owner_name = owner
        self._number = self._owner = self._session = self._batch = 0
        self._connection: Any = None
        self._unsure = False
        self._named: set[tuple[str, str]] = set()

    async def open(self) -> None:
        """Take a row of our own.

        Raises:
            GoverseError: the database is not there, or not as it has to be.
        """
        self._connection = await self._connect()
        row = await self._connection.fetchrow(query("open_writer"), self._owner_name)
        self._number, self._owner, self._session = row["number"], row["owner"], row["session"]

    async def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            await self._connections.hang_up(self._connection)
            self._connection = None

    async def commit(self, batch: Sequence[CommitRecord]) -> Carried:
        """Carry a batch out, however long that takes.

        Raises:
            Unavailable: PostgreSQL refused it, and nothing of it is durable.
            StoreFailed: it is not known what became of it, since the database is another one now.
        """
        self._batch += 1
        pause_s = RETRY_S
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
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)
            try:
                found = await self._resolve()
            except Exception as error:
                if isinstance(error, GoverseError) or (isinstance(error, asyncpg.PostgresError) and not passes(error)):
                    raise told(error) from error
                self._note_trouble(error)
                continue
            self.trouble = ""
            if found is not None:
                return found

    async def _attempt(self, batch: Sequence[CommitRecord]) -> Carried:
        if self._connection is None:
            raise ConnectionError("not connected")
        await self._name_kinds({record.key[:2] for record in batch} - self._named)
        self._unsure = False
        carried = await self._carry_out(batch)
        self._check_standbys()
        return carried

    async def _carry_out(self, batch: Sequence[CommitRecord]) -> Carried:
        ahead_ms = self._clock.ahead_ms
        head = (self._number, self._owner, self._session, self._batch, self._clock.now_ms())
        folded = batches.folded(batch, ahead_ms)
        if folded is not None:
            try:
                base = await self._connection.fetchval(_COMMIT_BATCH, *head, *folded)
            except asyncpg.PostgresError as error:
                if error.sqlstate != CONFLICT:
                    raise
            else:
                return Carried(base, {})
        answer = json.loads(await self._connection.fetchval(_COMMIT_EACH, *head, *batches.each(batch, ahead_ms)))
        return Carried(answer["base"], _refused(answer["refused"]))

    async def _name_kinds(self, missing: set[tuple[str, str]]) -> None:
        """Say in the database what the numbers of these kinds stand for."""
        for kind in missing:
            row = await self._connection.fetchrow(query("name_kind"), kind_of(*kind), *kind)
            if tuple(row) != kind:
                raise StoreFailed(f"the types {kind} and {tuple(row)} have the same number; rename one of them")
            self._named.add(kind)

    async def _resolve(self) -> Carried | None:
        """Connect anew, and tell what became of the batch; None where it was not and will never be carried out."""
        if self._connection is not None:
            await self._connections.hang_up(self._connection)
            self._connection = None
        self._unsure = False
        connection = await self._connect()
        row = await connection.fetchrow(query("resolve"), self._number)
        if row is None:
            await self._connections.hang_up(connection)
            raise StoreFailed(
                "the database lost what this process wrote; it was replaced or restored. Restart the node."
            )
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
        return connection

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
        """Whether nobody knows what became of the batch, or it may simply be tried again.

        Only what the server itself said on a connection that lives tells that nothing was done. A server that takes no
        writes is waited for, or left for the one that does; a statement that was cancelled, by its time limit or by
        somebody, is sent again.
        """
        if isinstance(error, GoverseError):
            return False
        if is_read_only(error):
            return True
        if not isinstance(error, asyncpg.PostgresError) or isinstance(error, _UNDONE):
            return True
        return self._connection is None or bool(self._connection.is_closed())

    def _note_trouble(self, error: BaseException) -> None:
        reason = told(error).detail
        if not self.trouble:
            logger.error("commits wait for PostgreSQL", extra={"reason": reason})
        self.trouble = reason


def _refused(answer: Mapping[str, Sequence[Any]]) -> dict[int, tuple[str, int]]:
    return {int(ordinal): (why[0], why[1]) for ordinal, why in answer.items()}


def _function(name: str, types: Sequence[str]) -> str:
    """Return the call of a function; columns of numbers come as text (``batches.as_text``)."""
    given = (f"${at}::text::{kind}" if kind in NUMBERS else f"${at}" for at, kind in enumerate((*_HEAD, *types), 1))
    return f"SELECT goverse.{name}({', '.join(given)})"


_HEAD: Final = ("bigint", "integer", "integer", "bigint", "bigint")
_COMMIT_BATCH: Final = _function("commit_batch", batches.BATCH_TYPES)
_COMMIT_EACH: Final = _function("commit_each", batches.EACH_TYPES)
