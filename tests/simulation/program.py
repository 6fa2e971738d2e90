"""The objects of a simulated cluster: logs, and relays that append to a log by a call from object to object."""

from __future__ import annotations

import asyncio

from goverse import Object, call


class Log(Object):
    """The entries that were appended to it."""

    entries: list[int] = []

    @call
    async def append(self, entry: int) -> list[int]:
        self.entries.append(entry)
        return self.entries

    @call
    async def append_slowly(self, entry: int, pause_s: float) -> list[int]:
        await asyncio.sleep(pause_s)
        self.entries.append(entry)
        return self.entries

    @call(readonly=True)
    def look(self) -> list[int]:
        return self.entries


class Relay(Object):
    """Counts what it passed on."""

    passed_on: int = 0

    @call
    async def append(self, log: str, entry: int) -> list[int]:
        entries = await self.ref(Log, log).append(entry)
        self.passed_on += 1
        return entries
