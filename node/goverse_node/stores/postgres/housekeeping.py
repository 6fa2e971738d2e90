"""Housekeeping: partitions of the next days are made, and what is past its retention is dropped, every two minutes.

No call depends on it. Its functions wait a moment for their locks and no longer, since every commit queues behind
them: beside a dump of the database they fail, and are tried again until the dump is over. Each day is made in a
transaction of its own, so that one that cannot be made does not prevent the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from goverse.errors import GoverseError, Unavailable
from goverse_node.stores.postgres.expiry import Expired, expire
from goverse_node.stores.postgres.failures import told
from goverse_node.stores.postgres.kept_size import KeptSize
from goverse_node.stores.postgres.options import PostgresOptions

T = TypeVar("T")

DAYS_AHEAD: Final = 2
STOP_S: Final = 1.0
PAUSE_S: Final = 120.0  # parts of kept replies take turns every ten minutes

WRITERS_KEPT: Final = timedelta(days=30)

_MISSING: Final = "SELECT parent, day FROM goverse.days_to_prepare($1)"
_PREPARE: Final = "SELECT goverse.prepare_day($1, $2)"
_FORGET: Final = "SELECT goverse.forget_router_replies()"
_FORGET_WRITERS: Final = "SELECT goverse.forget_writers($1)"
_KEEP_CHANGES: Final = "SELECT goverse.keep_changes($1)"

logger = logging.getLogger("goverse.node.store")


class Ask(Protocol):
    """Does something on a connection of its own."""

    async def __call__(self, work: Callable[[Any], Awaitable[T]], /) -> T:
        """Return what ``work`` makes of a connection."""
        ...


class Housekeeping:
    """The tasks of one process; all processes of a cluster have the same."""

    def __init__(self, ask: Ask, options: PostgresOptions, kept: KeptSize) -> None:
        """Do nothing before ``start``."""
        self._ask = ask
        self._options = options
        self._kept = kept
        self._switched = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the partitions that are missing, if that is possible now, and go on in the background."""
        await self._try(self.switch)
        await self._try(self.prepare)
        await self._try(self.measure)
        self._task = asyncio.create_task(self._run(), name="goverse-postgres")

    async def stop(self) -> None:
        """Do nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_S)  # one that was cut off ends with its connection
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_S)
            for task in (self.switch, self.prepare, self.cleanup, self.forget, self.measure):
                await self._try(task)

    async def _try(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except Exception as error:
            logger.warning("housekeeping failed; it is tried again later", extra={"reason": told(error).detail})

    async def switch(self) -> None:
        """Switch the change feed on or off for all nodes, as the options say; once in the life of a process.

        Raises:
            Unavailable: the tables are locked, or PostgreSQL does not answer.
        """
        if self._switched:
            return
        kept = self._options.changes_retention_days > 0
        if await self._ask(lambda connection: connection.fetchval(_KEEP_CHANGES, kept)):
            word = "on" if kept else "off"
            logger.warning(f"the change feed is switched {word} for all nodes of this database")
        self._switched = True

    async def prepare(self) -> None:
        """Make the partitions of the next days.

        Raises:
            GoverseError: the first day that could not be made; the others were.
            Unavailable: the tables are locked, as by a dump, or PostgreSQL does not answer; the rest was left.
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
        """Measure what kept replies take.

        Raises:
            Unavailable: PostgreSQL does not answer.
        """
        await self._ask(self._kept.measure)

    async def cleanup(self) -> Expired:
        """Drop what is past its retention; return what that was.

        Raises:
            Unavailable: as ``prepare``.
        """
        await self._ask(lambda connection: connection.execute(_FORGET_WRITERS, WRITERS_KEPT))
        return await self._ask(lambda connection: expire(connection, self._options))

    async def forget(self) -> None:
        """Remove replies under routers' keys, and under keys derived from them, that are no longer needed.

        Raises:
            Unavailable: as ``prepare``.
        """
        await self._ask(lambda connection: connection.execute(_FORGET))


async def _prepare_day(parent: str, day: int, connection: Any) -> None:
    await connection.execute(_PREPARE, parent, day)
