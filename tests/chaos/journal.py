"""Object types of chaos runs: journals, and relays that forward calls to journals.

Each writing call appends a unique entry, so the final journal shows which calls took effect, how often and in which
order. Each response shows the journal that the call saw.

A response contains the length and a digest of the journal instead of all entries, so that journals with hundreds of
entries do not dominate the load of the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from hashlib import blake2b

from goverse import Object, call

_MODULUS = (1 << 61) - 1
_BASE = 1_000_003


def digest_after(digest: int, entry: int) -> int:
    """Return the digest of a journal to which ``entry`` was appended."""
    return (digest * _BASE + entry + 1) % _MODULUS


def digests_of(entries: Iterable[int]) -> list[int]:
    """Return the digests of all prefixes of a journal, starting with the empty one."""
    found = [0]
    for entry in entries:
        found.append(digest_after(found[-1], entry))
    return found


class Journal(Object):
    """A list of entries with a digest."""

    entries: list[int] = []
    digest: int = 0

    @call
    async def append(self, entry: int) -> tuple[int, int]:
        """Append an entry and return length and digest."""
        self.entries.append(entry)
        self.digest = digest_after(self.digest, entry)
        return len(self.entries), self.digest

    @call
    async def append_slowly(self, entry: int, pause_s: float) -> tuple[int, int]:
        """Append an entry in a turn that takes ``pause_s``."""
        await asyncio.sleep(pause_s)
        return await self.append(entry)

    @call(readonly=True)
    async def look(self) -> tuple[int, int]:
        """Return length and digest."""
        return len(self.entries), self.digest

    @call(readonly=True)
    async def count(self, entries: dict[str, list[int]]) -> int:
        """Return the number of given lists."""
        return len(entries)

    @call(readonly=True)
    async def read(self) -> list[int]:
        """Return all entries."""
        return self.entries


class Relay(Object):
    """Forwards calls to journals, and appends to a journal of its own in its hooks.

    Attributes:
        hooked: entries of its hooks that its journal has acknowledged.
    """

    hooked: list[int] = []
    passed: int = 0

    async def on_create(self) -> None:
        await self._hook("create")

    async def on_activate(self) -> None:
        await self._hook("activate")

    async def _hook(self, hook: str) -> None:
        name = f"{self.id}:{hook}:{self.context.idempotency_key}"
        entry = int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "big")
        await self.ref(Journal, f"{self.id}-hooks").append(entry=entry)
        self.hooked.append(entry)

    @call
    async def pass_on(self, entry: int, journals: list[str], at_once: bool) -> list[tuple[int, int]]:
        """Append an entry to several journals and return their responses."""
        calls = [self.ref(Journal, journal).append(entry=entry) for journal in journals]
        told = list(await asyncio.gather(*calls)) if at_once else [await each for each in calls]
        self.passed += 1
        return told

    @call(readonly=True)
    async def look_through(self, hops: list[str], journal: str) -> tuple[int, int]:
        """Look at a journal through other relays."""
        if hops:
            return await self.ref(Relay, hops[0]).look_through(hops=hops[1:], journal=journal)
        return await self.ref(Journal, journal).look()

    @call(readonly=True)
    async def meddle(self, entry: int, journal: str) -> tuple[int, int]:
        """Try to change a journal in a readonly turn."""
        return await self.ref(Journal, journal).append(entry=entry)

    @call(readonly=True)
    async def hooks(self) -> list[int]:
        """Return the entries that the hooks appended."""
        return self.hooked
