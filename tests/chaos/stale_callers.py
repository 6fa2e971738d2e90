"""Callers that connect to a node directly, as a gate with an outdated shard table would do.

They verify that a node that was frozen beyond its lease gives no stale responses: their calls wait in the node's
sockets while it is frozen, and are the first thing that it processes afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter_ns

import orjson

from goverse.errors import Executed
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse.wire.handshake import Hello
from goverse.wire.link import GrpcLink
from goverse.wire.link_state import LinkPhase
from goverse.wire.options import WireOptions
from tests.chaos.history import Note, Told
from tests.chaos.load import Load
from tests.linearizability import Outcome

DEADLINE_S = 60.0
PATIENT = WireOptions(silence_s_max=120.0)


class StaleCallers:
    """Calls to one node, sent immediately and answered when the node can.

    Attributes:
        refused: number of calls without a result.
        answered: number of calls with a result; the history checks whether each result is valid.
    """

    def __init__(self, link: GrpcLink, load: Load) -> None:
        self.refused = self.answered = 0
        self._link = link
        self._load = load
        self._waiting: list[asyncio.Task[None]] = []

    def call(self, shards: Sequence[int], times: int) -> None:
        """Read and append to the journal of each shard, this many times."""
        for _ in range(times):
            for shard in shards:
                self._waiting.append(asyncio.create_task(self._call(self._load.journal_on(shard), None)))
                entry = self._load.next_entry()
                self._waiting.append(asyncio.create_task(self._call(self._load.journal_on(shard), entry)))

    async def finish(self) -> None:
        """Wait for all responses."""
        await asyncio.gather(*self._waiting)
        self._waiting.clear()

    async def _call(self, journal: str, entry: int | None) -> None:
        called = perf_counter_ns()
        reply = await self._link.submit(self._request(journal, entry))
        returned = perf_counter_ns()
        outcome = self._outcome(reply)
        told = Told(*orjson.loads(reply.body)) if outcome is Outcome.DONE else None
        if entry is not None or told is not None:
            self._load.history.note(journal, Note(entry, called, returned, outcome, told))

    def _outcome(self, reply: Reply) -> Outcome:
        if reply.problem is None:
            self.answered += 1
            return Outcome.DONE
        self.refused += 1
        return Outcome.FAILED if reply.problem.executed is Executed.NO else Outcome.UNKNOWN

    def _request(self, journal: str, entry: int | None) -> Request:
        return Request(
            Operation.CALL,
            ObjectKey(DEFAULT_NAMESPACE, "Journal", journal),
            "look" if entry is None else "append",
            b"" if entry is None else orjson.dumps({"entry": entry}),
            asyncio.get_running_loop().time() + DEADLINE_S,
            f"stale-{entry}",
            idempotency_key=None if entry is None else f"stale-{entry}",
        )


@asynccontextmanager
async def stale_callers(address: str, load: Load) -> AsyncIterator[StaleCallers]:
    """Yield callers that are connected to the node at an address."""
    link = GrpcLink(address, Hello(kind="gate", id="stale", incarnation="stale"), options=PATIENT)
    link.start()
    try:
        async with asyncio.timeout(30):
            while link.state.phase is not LinkPhase.CONNECTED:  # noqa: ASYNC110  # a port without an event
                await asyncio.sleep(0.01)
        yield StaleCallers(link, load)
    finally:
        await link.close()
