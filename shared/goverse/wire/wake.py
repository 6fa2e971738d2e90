"""Waking the one task that waits for something to do."""

from __future__ import annotations

import asyncio
from asyncio import Future


class Wake:
    """One task waits, anybody rings; a bell that nobody waits for, or no longer, harms nobody."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: Future[None] | None = None

    @property
    def is_waited_for(self) -> bool:
        """Whether the task waits."""
        return self._waiting is not None

    async def wait(self) -> None:
        """Wait until somebody rings."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def ring(self) -> None:
        """Let the task that waits go on."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():  # it may be cancelled, and not know it yet
            waiting.set_result(None)
