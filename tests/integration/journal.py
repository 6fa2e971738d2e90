"""An object whose history can be checked: a journal of unique entries, and the checker of what callers saw of it.

A journal only grows, and each entry is unique, so linearizability is decided without search: the final journal *is* the
order of the appends. What was read must be a prefix of it; an append's answer is its place in it; and whatever had
ended before something else began must not come after it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from goverse import BusinessError, Object, call


class Unwanted(BusinessError):
    """The entry is not wanted."""

    status = 409
    code = "unwanted"


class Journal(Object, reentrant=True):
    """Keeps entries in order."""

    entries: list[str] = []

    @call
    def append(self, entry: str) -> int:
        self.entries.append(entry)
        return len(self.entries)

    @call
    async def append_slowly(self, entry: str, naps: int) -> int:
        self.entries.append(entry)
        for _ in range(naps):
            await asyncio.sleep(0)
        return len(self.entries)

    @call
    async def append_and_fail(self, entry: str, naps: int) -> int:
        self.entries.append(entry)
        for _ in range(naps):
            await asyncio.sleep(0)
        raise ValueError(entry)

    @call(raises=(Unwanted,))
    async def append_and_refuse(self, entry: str) -> int:
        self.entries.append(entry)
        raise Unwanted(entry)

    @call(readonly=True)
    def read(self) -> list[str]:
        return self.entries

    @call(readonly=True)
    async def read_slowly(self, naps: int) -> list[str]:
        for _ in range(naps):
            await asyncio.sleep(0)
        return self.entries

    @call
    async def pass_on(self, entry: str, path: list[str], append_first: bool = False) -> int:
        """Append along a path, the far end first, unless ``append_first``."""
        if append_first:
            self.entries.append(entry)
        if path:
            await self.ref(Journal, path[0]).pass_on(entry=entry, path=path[1:], append_first=append_first)
        if not append_first:
            self.entries.append(f"{entry}@{len(path)}")
        return len(self.entries)


@dataclass
class Seen:
    """One request as its caller saw it; times are steps of one counter.

    Attributes:
        entry: what it appends, or empty for a read.
        outcome: ``done``, ``failed`` (nothing of it may be there), or ``unknown`` (cancelled, part of a chain).
        read: the journal that it returned, for reads.
        place: the place that it returned, for appends.
    """

    journal: str
    began: int
    entry: str = ""
    outcome: str = "unknown"
    ended: int = 0
    read: list[str] | None = None
    place: int = 0


@dataclass
class History:
    """What all callers saw."""

    seen: list[Seen] = field(default_factory=list[Seen])
    steps: int = 0

    def begin(self, journal: str, entry: str = "") -> Seen:
        """Note that a request begins."""
        self.steps += 1
        self.seen.append(Seen(journal, self.steps, entry))
        return self.seen[-1]

    def end(self, seen: Seen, outcome: str) -> None:
        """Note how it ended."""
        self.steps += 1
        seen.ended = self.steps
        seen.outcome = outcome

    def problems(self, final: dict[str, list[str]]) -> list[str]:
        """Return what cannot be, given the journals in the end; empty when all is well."""
        found: list[str] = []
        for journal, entries in final.items():
            if len(set(entries)) != len(entries):
                found.append(f"{journal} has an entry twice: {entries}")
            mine = [seen for seen in self.seen if seen.journal == journal]
            found += [problem for seen in mine for problem in _alone(seen, entries)]
            found += _in_real_time([seen for seen in mine if seen.outcome == "done"], entries)
        return found


def _alone(seen: Seen, entries: list[str]) -> list[str]:
    """Check one request against the final journal."""
    if seen.outcome == "failed" and seen.entry in entries:
        return [f"{seen.entry} failed, and is there"]
    if seen.outcome != "done":
        return []
    if seen.read is not None:
        return [] if entries[: len(seen.read)] == seen.read else [f"{seen.read} was read, the journal is {entries}"]
    if entries[seen.place - 1 : seen.place] != [seen.entry]:
        return [f"{seen.entry} was acknowledged at {seen.place}, the journal is {entries}"]
    return []


def _in_real_time(done: list[Seen], entries: list[str]) -> list[str]:
    """Check that nothing comes after what began when it had ended."""
    del entries
    found: list[str] = []
    for earlier in done:
        for later in done:
            if earlier.ended < later.began and _position(earlier) > _position(later):
                found.append(f"{earlier} ended before {later} began, but comes after it")
    return found


def _position(seen: Seen) -> float:
    """A read stands just after the last entry that it saw."""
    return len(seen.read) + 0.5 if seen.read is not None else seen.place
