"""The time of the running event loop, moved on by a test: timers come due at once, whatever the machine is busy with.

Sockets and other processes know nothing of it. Move it while nothing but the timers under test is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.nodes import settle


class LoopTime:
    """The time of a loop, which is ahead of the machine's by what a test said.

    Attributes:
        ahead_s: by how much.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take over the time of the running loop until the test ends."""
        self.ahead_s = 0.0
        loop = asyncio.get_running_loop()
        real_time = loop.time
        monkeypatch.setattr(loop, "time", lambda: real_time() + self.ahead_s)

    async def advance(self, seconds: float) -> None:
        """Move the time on and let everything that is due now run."""
        self.ahead_s += seconds
        await settle()

    async def advance_until(self, condition: Callable[[], bool], *, step_s: float, most_s: float) -> None:
        """Move the time on in steps until a condition holds; fail once it moved by ``most_s``."""
        begun_s = self.ahead_s
        while not condition():
            assert self.ahead_s - begun_s < most_s, "the condition did not come true in time"
            await self.advance(step_s)
