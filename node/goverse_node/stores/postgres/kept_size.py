"""The size of the kept replies on PostgreSQL's disk, and the limit on it.

Every node measures the size as part of its housekeeping. When the limit is reached, the lookup of an idempotency key
without a kept reply fails with ``Overloaded``, as in the embedded store (``goverse_node.stores.kept``). Keys that a
router generated for a first attempt are not looked up and therefore not refused: their replies are kept for minutes
only.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from typing import Any

from goverse.model.records import StoredReply
from goverse_node.stores.kept import no_room
from goverse_node.stores.postgres.statements import query


class KeptSize:
    """The measured size of the kept replies, and its limit.

    Attributes:
        bytes: the last measurement, tables and indexes together; 0 before the first one.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes = 0
        self._bytes_max = bytes_max

    async def measure(self, connection: Any) -> None:
        """Measure the size in PostgreSQL."""
        self.bytes = await connection.fetchval(query("kept_size"))

    def checked(self, found: Future[StoredReply | None]) -> Future[StoredReply | None]:
        """Return a lookup's result. While the limit is reached, a result of None becomes ``Overloaded``."""
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
