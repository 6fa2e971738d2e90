"""Detection of a database that went back in time.

A restore under a running node, or a failover to a standby that lagged behind, loses acknowledged calls. This does not
necessarily break a connection, and afterwards the process has newer data in memory than the database. It is detected by
any of these signs:

1. The row of the process in ``goverse.writers`` is missing, or its batch is older than the last acknowledged one.
2. A claim of the process is missing, is older, or has another owner at the same epoch.
3. The row of the feed was written by another transaction than the one that it contains, as a restore does.
4. The feed has another generation, because another process detected the loss.

Signs 1 and 2 cover everything that the process has in memory, because it claims a shard before it loads its objects. A
database from before the claim lacks the claim (2). In a database from after the claim, all missing data of the shard
was written by this process (1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from goverse.errors import GoverseError
from goverse_node.stores.postgres.failures import translated
from goverse_node.stores.postgres.statements import query
from goverse_node.stores.postgres.writer import Writer

LOOK_S: Final = 2.0
STOP_S: Final = 1.0

logger = logging.getLogger("goverse.node.store")


class Vigil:
    """The periodic check of one process.

    Attributes:
        generation: the generation of the feed that this process knows.
    """

    def __init__(
        self,
        ask: Callable[[Callable[[Any], Awaitable[Any]]], Awaitable[Any]],
        reverted: Callable[[str], Awaitable[None]],
    ) -> None:
        """Create the check.

        Args:
            ask: runs work on a connection.
            reverted: called with the old generation after the database has lost acknowledged calls.
        """
        self.generation = ""
        self._ask = ask
        self._reverted = reverted
        self._claims: dict[int, int] = {}
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, writer: Writer) -> None:
        """Check every ``LOOK_S`` seconds."""
        self._task = asyncio.create_task(self._run(writer), name="goverse-postgres-vigil")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_S)  # a task that hangs ends when its connection is closed
            self._task = None

    def look_soon(self) -> None:
        """Check as soon as possible, because the writer's connection has ended."""
        self._soon.set()

    def claimed(self, epochs: Mapping[int, int]) -> None:
        """Remember the epochs of shards that this process has claimed."""
        self._claims.update(epochs)

    def forget_claims(self) -> None:
        """Forget the claims of this process. The database has lost them."""
        self._claims.clear()

    async def look(self, writer: Writer) -> bool:
        """Check the database. If it went back in time, call ``reverted`` and return True.

        Raises:
            GoverseError: PostgreSQL is unavailable.
        """
        number, carried, generation = writer.number, writer.carried, self.generation
        claims = self._claims
        arguments = number, list(claims), list(claims.values()), writer.owner
        row = await self._ask(lambda connection: connection.fetchrow(query("look"), *arguments))
        if number != writer.number or generation != self.generation:
            return False  # the loss was detected and handled while the query ran
        batch_lost = row["batch"] is None or row["batch"] < carried
        if not (batch_lost or row["lost_claims"] or row["restored"] or row["generation"] != generation):
            await self._ask(lambda connection: connection.execute(query("keep_alive"), number))
            return False
        if batch_lost and not await writer.renew(number):
            return False
        await self._reverted(generation)
        return True

    async def _run(self, writer: Writer) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._soon.wait()
            self._soon.clear()
            try:
                await self.look(writer)
            except GoverseError:
                pass  # the database is unavailable; commits and loads report that
            except Exception as error:
                reason = translated(error).detail
                logger.warning("checking the database for lost calls failed", extra={"reason": reason})
