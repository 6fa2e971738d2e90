"""The number of dead letters in the store, for metrics.

Any node counts the dead letters of all nodes, so each reports the same numbers. A scrape cannot wait for the store: it
gets the numbers of an earlier count, and starts the next one. Without scrapes nothing is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from goverse.errors import GoverseError
from goverse.ports.outbox import CallFilter, Outbox

COUNTED_MAX: Final = 10_000
"""Dead letters of one type that are counted; more are reported as this number."""

_REST_S: Final = 30.0  # between two counts
_DEAD: Final = CallFilter(states=frozenset({"dead"}))

logger = logging.getLogger("goverse.node.messages")


class DeadLetters:
    """Counts dead letters by the types of their receivers.

    Attributes:
        counts: the numbers of the last count; empty before the first one.
    """

    def __init__(self, outbox: Outbox, types: Callable[[], Iterable[str]]) -> None:
        """``types`` returns the names of the types that are counted."""
        self.counts: Mapping[str, int] = {}
        self._outbox = outbox
        self._types = types
        self._task: asyncio.Task[None] | None = None
        self._rests_until = float("-inf")

    def refresh(self) -> None:
        """Count again, unless that is in progress or was done a moment ago. Needs the event loop of the store."""
        loop = asyncio.get_running_loop()
        if (self._task is None or self._task.done()) and loop.time() >= self._rests_until:
            self._rests_until = loop.time() + _REST_S
            self._task = loop.create_task(self._count(), name="goverse-dead-letters")

    async def _count(self) -> None:
        counts = dict.fromkeys(self._types(), 0)
        try:
            if await self._outbox.count_finished(_DEAD, limit=1):
                for name in counts:
                    counts[name] = await self._outbox.count_finished(_DEAD._replace(type=name), limit=COUNTED_MAX)
        except GoverseError as error:
            logger.info("cannot count dead letters; the metric keeps its last values", extra={"reason": error.detail})
            return
        self.counts = counts
