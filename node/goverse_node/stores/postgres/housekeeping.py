"""Housekeeping: partitions of the next days are made, what is past its retention is dropped, now and then.

No call depends on it. Its functions wait a moment for their locks and no longer, since every commit queues behind them:
beside a dump of the database they fail, and are tried again until the dump is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from goverse_node.stores.postgres.database_clock import DatabaseClock
from goverse_node.stores.postgres.expiry import Expired, expire
from goverse_node.stores.postgres.failures import told
from goverse_node.stores.postgres.kept_size import KeptSize
from goverse_node.stores.postgres.options import PostgresOptions

T = TypeVar("T")

DAYS_AHEAD: Final = 2
PAUSE_S: Final = 120.0  # parts of kept replies take turns every ten minutes

_PREPARE: Final = "SELECT goverse.prepare_days($1)"
_FORGET: Final = "SELECT goverse.forget_router_replies($1)"

logger = logging.getLogger("goverse.node.store")


class Ask(Protocol):
    """Does something on a connection of its own."""

    async def __call__(self, work: Callable[[Any], Awaitable[T]], /) -> T:
        """Return what ``work`` makes of a connection."""
        ...


class Housekeeping:
    """The tasks of one process; all processes of a cluster have the same."""

    def __init__(self, ask: Ask, options: PostgresOptions, clock: DatabaseClock, kept: KeptSize) -> None:
        """Do nothing before ``start``."""
        self._ask = ask
        self._options = options
        self._clock = clock
        self._kept = kept
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make the partitions that are missing, if that is possible now, and go on in the background."""
        await self._try(self.prepare)
        await self._try(self.measure)
        self._task = asyncio.create_task(self._run(), name="goverse-postgres")

    async def stop(self) -> None:
        """Do nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_S)
            for task in (self._compare_clocks, self.prepare, self.cleanup, self.forget, self.measure):
                await self._try(task)

    async def _try(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except Exception as error:
            logger.warning("housekeeping failed; it is tried again later", extra={"reason": told(error).detail})

    async def _compare_clocks(self) -> None:
        await self._ask(self._clock.compare)

    async def prepare(self) -> None:
        """Make the partitions of the next days.

        Raises:
            Unavailable: somebody reads the tables and goes on, as a dump does, or PostgreSQL does not answer.
        """
        await self._ask(lambda connection: connection.execute(_PREPARE, DAYS_AHEAD))

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
        return await self._ask(lambda connection: expire(connection, self._options, self._clock.now_ms()))

    async def forget(self) -> None:
        """Let go of replies under routers' keys that nobody asks for any more.

        Raises:
            Unavailable: as ``prepare``.
        """
        await self._ask(lambda connection: connection.execute(_FORGET, self._clock.now_ms()))
