"""A wake-up signal for one waiting task."""

from __future__ import annotations

import asyncio
from asyncio import Future


class Wake:
    """Wakes the one task that waits. Ringing without a waiting task, or after it was cancelled, has no effect."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: Future[None] | None = None

    @property
    def is_waited_for(self) -> bool:
        """True while the task waits."""
        return self._waiting is not None

    async def wait(self) -> None:
        """Wait until ``ring`` is called."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def ring(self) -> None:
        """Wake the waiting task."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():  # the task may be cancelled and not have run since
            waiting.set_result(None)
