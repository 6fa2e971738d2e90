"""Housekeeping: create partitions for the next days, drop expired data and count, every two minutes.

No call depends on it. Commits queue behind the locks that it requests, so it waits for a lock only briefly. While a
database dump holds the tables, housekeeping fails and is retried until the dump has ended. Each day's partition is
created in its own transaction, so that one failure does not affect the other days.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from goverse.errors import GoverseError, Unavailable
from goverse.model.keys import ObjectKey
from goverse_node.stores.hashes import hash_column
from goverse_node.stores.postgres.expiry import Expired, expire
from goverse_node.stores.postgres.failures import translated
from goverse_node.stores.postgres.kept_size import KeptSize
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.statements import query

T = TypeVar("T")

DAYS_AHEAD: Final = 2
STOP_S: Final = 1.0
PAUSE_S: Final = 120.0  # must be shorter than the ten minutes in which each part of the kept replies takes its turn

WRITERS_KEPT: Final = timedelta(days=30)
RECEIPTS_ROUND: Final = timedelta(minutes=15)
"""The time from one search for receipts that are not needed to the next."""
_OVERLAP_MS: Final = 3_600_000
"""Ends of calls can be committed late, and their times are those of their nodes."""
_BLOCKS: Final = 1_000
"""Pages of the table of receipts that one statement searches."""

_MISSING: Final = "SELECT parent, day FROM goverse.days_to_prepare($1)"
_PREPARE: Final = "SELECT goverse.prepare_day($1, $2)"
_FORGET: Final = "SELECT goverse.forget_router_replies()"
_FORGET_WRITERS: Final = "SELECT goverse.forget_writers($1)"
_FILL_IN: Final = "SELECT goverse.fill_in_hashes($1, $2, $3)"
_KEEP_CHANGES: Final = "SELECT goverse.keep_changes($1)"
_FOLD_COUNTS: Final = "SELECT goverse.fold_counts()"
_FORGET_RECEIPTS: Final = "SELECT goverse.forget_receipts($1, $2)"

logger = logging.getLogger("goverse.node.store")


class Ask(Protocol):
    """Runs work on a connection from the pool."""

    async def __call__(self, work: Callable[[Any], Awaitable[T]], /) -> T:
        """Call ``work`` with a connection and return its result."""
        ...


class Housekeeping:
    """The housekeeping of one process. All processes of a cluster run the same tasks.

    Attributes:
        counted: the number of objects by namespace and type, as it was counted last.
    """

    def __init__(self, ask: Ask, options: PostgresOptions, kept: KeptSize, base: Callable[[], int]) -> None:
        """Prepare. ``base`` returns the base of hashes, as soon as the cluster is known."""
        self._ask = ask
        self.counted: Mapping[tuple[str, str], int] = {}
        self._base = base
        self._options = options
        self._kept = kept
        self._switched = False
        self._cleaned_ms = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Switch the feed, create partitions and measure sizes, then continue in the background.

        A failed task is logged and retried later.
        """
        await self._try(self.switch)
        await self._try(self.prepare)
        await self._try(self.measure)
        self._task = asyncio.create_task(self._run(), name="goverse-postgres")

    async def stop(self) -> None:
        """Stop the background task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_S)  # a task that hangs ends when its connection is closed
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_S)
            for task in (self.switch, self.prepare, self.cleanup, self.forget, self.fill_in_hashes):
                await self._try(task)
            await self._try(self.forget_receipts)
            await self._try(self.measure)

    async def _try(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except Exception as error:
            logger.warning("housekeeping failed, retrying later", extra={"reason": translated(error).detail})

    async def switch(self) -> None:
        """Switch the change feed on or off for all nodes, according to the options. Succeeds once per process.

        Raises:
            Unavailable: the tables are locked, or PostgreSQL is unavailable.
        """
        if self._switched:
            return
        kept = self._options.changes_retention_days > 0
        if await self._ask(lambda connection: connection.fetchval(_KEEP_CHANGES, kept)):
            word = "on" if kept else "off"
            logger.warning(f"change feed switched {word} for all nodes of this database")
        self._switched = True

    async def prepare(self) -> None:
        """Create the partitions of the next days.

        Raises:
            Unavailable: the tables are locked, for example by a dump, or PostgreSQL is unavailable. The remaining days
                were not tried.
            GoverseError: creating a partition failed. It is the first such error; the other days were created.
        """
        missing = await self._ask(lambda connection: connection.fetch(_MISSING, DAYS_AHEAD))
        failure: GoverseError | None = None
        for parent, day in missing:
            try:
                await self._ask(partial(_prepare_day, parent, day))
            except Unavailable:
                raise
            except GoverseError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def measure(self) -> None:
        """Measure the size of the kept replies, and count the objects.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        await self._ask(self._kept.measure)
        await self._ask(lambda connection: connection.execute(_FOLD_COUNTS))
        self.counted = await self._ask(living)

    async def cleanup(self) -> Expired:
        """Drop the data that is past its retention. Returns what was dropped.

        Raises:
            Unavailable: as ``prepare``.
        """
        await self._ask(lambda connection: connection.execute(_FORGET_WRITERS, WRITERS_KEPT))
        since_ms = self._cleaned_ms - _OVERLAP_MS if self._cleaned_ms else 0
        now_ms = await self._ask(lambda connection: connection.fetchval("SELECT goverse.now_ms()"))
        expired = await self._ask(lambda connection: expire(connection, self._options, since_ms=since_ms))
        self._cleaned_ms = now_ms
        return expired

    async def forget(self) -> None:
        """Remove replies under routers' keys, and under keys derived from them, that are at least twenty minutes old.

        Raises:
            Unavailable: as ``prepare``.
        """
        await self._ask(lambda connection: connection.execute(_FORGET))

    async def forget_receipts(self, every: timedelta = RECEIPTS_ROUND) -> int:
        """Remove the receipts that no delivery can need, if the last search for them began so long ago.

        The processes of a cluster share the search. Returns the number of receipts that this one removed.

        Raises:
            Unavailable: PostgreSQL is unavailable; some of them may have been removed.
        """
        removed = 0
        work = partial(_forget_receipts, every)
        while (found := await self._ask(work)) is not None:
            removed += found
            work = partial(_forget_receipts, RECEIPTS_ROUND)  # to the end of this round
        return removed

    async def fill_in_hashes(self) -> int:
        """Compute the hashes of objects that nodes of an earlier release created. Returns their number.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        filled = 0
        while rows := await self._ask(lambda connection: connection.fetch(query("unplaced"))):
            keys = [ObjectKey(row["namespace"], row["type"], row["id"].decode()) for row in rows]
            hashes = [hash_column(key, self._base()) for key in keys]
            columns = [row["kind"] for row in rows], [row["id"] for row in rows], hashes
            filled += await self._ask(partial(_fill_in, columns))
        return filled


async def living(connection: Any) -> dict[tuple[str, str], int]:
    """Return the number of objects that exist, by namespace and type."""
    return {(row["namespace"], row["type"]): row["n"] for row in await connection.fetch(query("living"))}


async def _forget_receipts(every: timedelta, connection: Any) -> int | None:
    removed: int | None = await connection.fetchval(_FORGET_RECEIPTS, every, _BLOCKS)
    return removed


async def _fill_in(columns: tuple[list[Any], ...], connection: Any) -> int:
    filled: int = await connection.fetchval(_FILL_IN, *columns)
    return filled


async def _prepare_day(parent: str, day: int, connection: Any) -> None:
    await connection.execute(_PREPARE, parent, day)
