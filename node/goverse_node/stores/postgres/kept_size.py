"""The size of the replies that are kept under idempotency keys on PostgreSQL's disk, and the bound on it.

Every node measures it now and then, as part of its housekeeping. Beyond the bound a key under which no reply is kept is
refused when it is looked up, as by the embedded store (``goverse_node.stores.kept``). Keys that a router made for a
first attempt are not looked up and not refused: their replies live for minutes.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from typing import Any

from goverse.model.records import StoredReply
from goverse_node.stores.kept import no_room
from goverse_node.stores.postgres.statements import query


class KeptSize:
    """What kept replies take.

    Attributes:
        bytes: as measured last, tables and indexes together; 0 before that.
    """

    def __init__(self, bytes_max: int) -> None:
        """Allow ``bytes_max``."""
        self.bytes = 0
        self._bytes_max = bytes_max

    async def measure(self, connection: Any) -> None:
        """Ask PostgreSQL for the size."""
        self.bytes = await connection.fetchval(query("kept_size"))

    def checked(self, found: Future[StoredReply | None]) -> Future[StoredReply | None]:
        """Return the answer to a look-up; ``Overloaded`` instead of None while there is no room for a reply."""
        if self.bytes < self._bytes_max:
            return found
        answer: Future[StoredReply | None] = asyncio.get_running_loop().create_future()
        found.add_done_callback(lambda done: self._answer(done, answer))
        return answer

    def _answer(self, done: Future[StoredReply | None], answer: Future[StoredReply | None]) -> None:
        if answer.done():
            return
        if done.cancelled():
            answer.cancel()
        elif (error := done.exception()) is not None:
            answer.set_exception(error)
        elif (kept := done.result()) is not None:
            answer.set_result(kept)
        else:
            answer.set_exception(no_room(self.bytes, self._bytes_max, "postgres.kept_replies_bytes_max", "all objects"))
