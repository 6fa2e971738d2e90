"""Callers that reach journals through relays: nested calls, hooks and readonly chains across nodes.

A call that forwards an entry is repeated with its idempotency key until it is answered. Its response contains the
response of every journal, so the history checks each nested append like a direct one. At the end, the entries that the
hooks of relays appended are compared with the entries that the relays store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter_ns
from typing import Any

from tests.chaos.client import Answer
from tests.chaos.history import Note, Told
from tests.chaos.load import Load
from tests.linearizability import Outcome

CALLERS = 8
RELAYS = 24
JOURNALS = 6
ENTRIES_MAX = 200
PAUSE_S = 0.02


class RelayedLoad:
    """Callers of relays.

    Attributes:
        passed: number of calls that appended to several journals.
        looked: number of readonly chains that were answered.
        refused: number of refused attempts of readonly methods to change a journal; every attempt must be refused.
    """

    def __init__(self, load: Load) -> None:
        self.passed = self.looked = self.refused = 0
        self._load = load
        self._name = f"{load.name}-nested"
        self._stopped = asyncio.Event()
        self._chance = load.chance

    async def call_on(self, gate: int) -> None:
        """Make calls until stopped."""
        while not self._stopped.is_set():
            await asyncio.sleep(self._chance.uniform(0, 2 * PAUSE_S))
            kind = self._chance.random()
            if kind < 0.6:
                await self._pass_on(gate)
            elif kind < 0.9:
                await self._look(gate)
            else:
                await self._meddle(gate)

    def stop(self) -> None:
        """Make no more calls."""
        self._stopped.set()

    def _relays(self, count: int) -> list[str]:
        """Choose relays in ascending order, so that two chains never wait for each other."""
        return [f"{self._name}-relay-{number:02}" for number in sorted(self._chance.sample(range(RELAYS), count))]

    def _journals(self, count: int) -> list[str]:
        part = self.passed * 2 // (ENTRIES_MAX * JOURNALS)
        return [f"{self._name}-{slot}-{part}" for slot in self._chance.sample(range(JOURNALS), count)]

    async def _pass_on(self, gate: int) -> None:
        entry, journals = self._load.next_entry(), self._journals(2)
        body = {"entry": entry, "journals": journals, "at_once": self._chance.random() < 0.5}
        called = perf_counter_ns()
        answer = await self._answer(gate, self._relays(1)[0], "pass_on", body, f"{self._name}-{entry}")
        returned = perf_counter_ns()
        assert answer.status == 200, f"a relay answered {answer.status}: {answer.text}"
        for journal, told in zip(journals, answer.value(), strict=True):
            self._load.history.note(journal, Note(entry, called, returned, Outcome.DONE, Told(*told)))
        self.passed += 1

    async def _look(self, gate: int) -> None:
        (journal,), (first, *hops) = self._journals(1), self._relays(3)
        called = perf_counter_ns()
        answer = await self._answer(gate, first, "look_through", {"hops": hops, "journal": journal}, None)
        returned = perf_counter_ns()
        assert answer.status == 200, f"a readonly chain was answered {answer.status}: {answer.text}"
        self._load.history.note(journal, Note(None, called, returned, Outcome.DONE, Told(*answer.value())))
        self.looked += 1

    async def _meddle(self, gate: int) -> None:
        entry, (journal,) = self._load.next_entry(), self._journals(1)
        called = perf_counter_ns()
        body = {"entry": entry, "journal": journal}
        answer = await self._answer(gate, self._relays(1)[0], "meddle", body, f"{self._name}-{entry}")
        assert (answer.status, answer.value()["code"]) == (500, "readonly_violation"), answer.text
        self._load.history.note(journal, Note(entry, called, perf_counter_ns(), Outcome.FAILED))
        self.refused += 1

    async def _answer(self, gate: int, relay: str, method: str, body: dict[str, Any], key: str | None) -> Answer:
        """Repeat a call until a gate answers it."""
        return await self._load.answered(gate, ("Relay", relay), method, body, key)

    async def complaints(self) -> list[str]:
        """Compare the journals of the hooks with the entries that their relays store."""
        found: list[str] = []
        for number in range(RELAYS):
            relay = f"{self._name}-relay-{number:02}"
            kept: list[int] = await self._load.asked(("Relay", relay), "hooks")
            entries: list[int] = await self._load.asked(("Journal", f"{relay}-hooks"), "read")
            if len(set(entries)) != len(entries):
                found.append(f"a hook of {relay} took effect twice")
            if not set(kept) <= set(entries):
                found.append(f"effects of hooks of {relay} are lost")
            if not kept:
                found.append(f"{relay} has run no hook")
        return found


@asynccontextmanager
async def relayed(load: Load) -> AsyncIterator[RelayedLoad]:
    """Call relays while the block runs, then check the entries of their hooks."""
    nested = RelayedLoad(load)
    callers = [asyncio.create_task(nested.call_on(number)) for number in range(CALLERS)]
    try:
        yield nested
    finally:
        nested.stop()
        await asyncio.gather(*callers)
    assert not (found := await nested.complaints()), found
