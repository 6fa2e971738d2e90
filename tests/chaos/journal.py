"""The objects that chaos runs call: journals. Each writing call appends an entry of its own, so that the journal at the
end tells which calls took effect, how often and in which order; each answer tells which journal the call saw.

An answer names what it saw by length and digest instead of all entries, so that journals of hundreds of entries do not
make the load of the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from goverse import Object, call

_MODULUS = (1 << 61) - 1
_BASE = 1_000_003


def digest_after(digest: int, entry: int) -> int:
    """Return the digest of a journal to which ``entry`` was appended."""
    return (digest * _BASE + entry + 1) % _MODULUS


def digests_of(entries: Iterable[int]) -> list[int]:
    """Return the digest of each beginning of a journal, of the empty one first."""
    found = [0]
    for entry in entries:
        found.append(digest_after(found[-1], entry))
    return found


class Journal(Object):
    """Appends."""

    entries: list[int] = []
    digest: int = 0

    @call
    async def append(self, entry: int) -> tuple[int, int]:
        """Append an entry; tell length and digest."""
        self.entries.append(entry)
        self.digest = digest_after(self.digest, entry)
        return len(self.entries), self.digest

    @call
    async def append_slowly(self, entry: int, pause_s: float) -> tuple[int, int]:
        """Append an entry in a turn that takes its time."""
        await asyncio.sleep(pause_s)
        return await self.append(entry)

    @call(readonly=True)
    async def look(self) -> tuple[int, int]:
        """Tell length and digest."""
        return len(self.entries), self.digest

    @call(readonly=True)
    async def read(self) -> list[int]:
        """Tell all entries."""
        return self.entries
