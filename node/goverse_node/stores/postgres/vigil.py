"""Vigil: a process notices that the database went back in time.

A restore under a running node, or a failover to a standby that lagged behind, takes acknowledged calls back. No
connection has to break by that, and what the process has in memory is then newer than the database. Any of these shows
it:

* the row of the process in ``goverse.writers`` is missing, or at a batch before the last acknowledged one;
* a claim of the process is missing, older, or in the name of another owner at the same epoch;
* the row of the feed was written by another transaction than it says, as a restore does;
* the feed has another generation: another process noticed.

The first two are complete: a process loads an object after it claimed the shard. A database from before the claim lacks
the claim; in one from after it, all that is missing of the shard was written by this process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from goverse.errors import GoverseError
from goverse_node.stores.postgres.failures import told
from goverse_node.stores.postgres.statements import query
from goverse_node.stores.postgres.writer import Writer

LOOK_S: Final = 2.0
STOP_S: Final = 1.0

logger = logging.getLogger("goverse.node.store")


class Vigil:
    """The looks of one process.

    Attributes:
        generation: of the feed, as this process knows it.
    """

    def __init__(
        self,
        ask: Callable[[Callable[[Any], Awaitable[Any]]], Awaitable[Any]],
        reverted: Callable[[str], Awaitable[None]],
    ) -> None:
        """Look through ``ask``, and call ``reverted`` when the database went back."""
        self.generation = ""
        self._ask = ask
        self._reverted = reverted
        self._claims: dict[int, int] = {}
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, writer: Writer) -> None:
        """Look every two seconds."""
        self._task = asyncio.create_task(self._run(writer), name="goverse-postgres-vigil")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_S)  # one that was cut off ends with its connection
            self._task = None

    def look_soon(self) -> None:
        """Look now: the connection that commits ended."""
        self._soon.set()

    def claimed(self, epochs: Mapping[int, int]) -> None:
        """Note epochs that the database has given this process."""
        self._claims.update(epochs)

    def forget_claims(self) -> None:
        """Note that the claims of this process are not those of the database."""
        self._claims.clear()

    async def look(self, writer: Writer) -> bool:
        """Tell if the database went back, and act on it.

        Raises:
            GoverseError: PostgreSQL does not answer.
        """
        number, carried, generation = writer.number, writer.carried, self.generation
        claims = self._claims
        arguments = number, list(claims), list(claims.values()), writer.owner
        row = await self._ask(lambda connection: connection.fetchrow(query("look"), *arguments))
        if number != writer.number or generation != self.generation:
            return False  # noticed meanwhile
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
                pass  # the database does not answer; commits and loads say so
            except Exception as error:
                logger.warning("the database could not be looked at", extra={"reason": told(error).detail})
