"""Control of the event loop's time by a test: timers fire without waiting, however busy the machine is.

Sockets and other processes are not affected. Advance the time only while the test waits for nothing but timers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.nodes import settle


class LoopTime:
    """The time of a loop, ahead of the machine's clock.

    Attributes:
        ahead_s: seconds by which it is ahead.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Control the time of the running loop until the test ends."""
        self.ahead_s = 0.0
        loop = asyncio.get_running_loop()
        real_time = loop.time
        monkeypatch.setattr(loop, "time", lambda: real_time() + self.ahead_s)

    async def advance(self, seconds: float) -> None:
        """Advance the time and run everything that is due."""
        self.ahead_s += seconds
        await settle()

    async def advance_until(self, condition: Callable[[], bool], *, step_s: float, most_s: float) -> None:
        """Advance the time in steps until a condition holds. Fail after ``most_s``."""
        begun_s = self.ahead_s
        while not condition():
            assert self.ahead_s - begun_s < most_s, "the condition did not come true in time"
            await self.advance(step_s)
