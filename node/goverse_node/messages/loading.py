"""Reading of outboxes from the store, in pages, when a node begins to serve shards.

One page is read at a time, so a node that takes over many shards at once reads slowly and serves them meanwhile. A read
that fails is repeated from the last page, as long as the shards are served.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from goverse.errors import GoverseError
from goverse.model.effects import PendingCall
from goverse.ports.entropy import Entropy
from goverse.ports.outbox import Outbox
from goverse_node.messages.backoff import Backoff
from goverse_node.messages.outboxes import Shard

PAGE: Final = 1_000
_RETRY: Final = Backoff(250, 5_000)

logger = logging.getLogger("goverse.node.messages")


class Loading:
    """Reads the outboxes of shards, one group of shards after the other."""

    def __init__(
        self,
        outbox: Outbox,
        entropy: Entropy,
        *,
        found: Callable[[PendingCall], None],
        loaded: Callable[[dict[int, Shard]], None],
    ) -> None:
        """``found`` receives the calls of a group in order, ``loaded`` the group when it is complete."""
        self._outbox = outbox
        self._entropy = entropy
        self._found = found
        self._done = loaded
        self._groups: deque[dict[int, Shard]] = deque()
        self._task: asyncio.Task[None] | None = None

    def start(self, opened: dict[int, Shard], served: Mapping[int, Shard]) -> None:
        """Read the outboxes of ``opened``. A shard that is not in ``served`` any more is left out."""
        self._groups.append(opened)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(served), name="goverse-outboxes")

    async def finished(self) -> None:
        """Wait until nothing is being read."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    def stop(self) -> None:
        """Stop reading."""
        self._groups.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self, served: Mapping[int, Shard]) -> None:
        while self._groups:
            await self._read(self._groups.popleft(), served)
        self._task = None

    async def _read(self, opened: dict[int, Shard], served: Mapping[int, Shard]) -> None:
        after = failures = 0
        while opened := {number: shard for number, shard in opened.items() if served.get(number) is shard}:
            try:
                page = await self._outbox.pending(opened, after=after, limit=PAGE)
            except Exception as error:
                failures += 1
                expected = isinstance(error, GoverseError)
                logger.warning("cannot read outboxes; trying again", exc_info=None if expected else error)
                await asyncio.sleep(_RETRY.wait_ms(failures, self._entropy) / 1000)
                continue
            for call in page:
                shard = opened.get(call.shard)
                if shard is not None and served.get(call.shard) is shard:
                    self._found(call)
            if len(page) < PAGE:
                self._done(opened)
                return
            after = page[-1].number
