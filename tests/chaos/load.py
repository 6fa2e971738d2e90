"""The load of a chaos run: callers that append to journals and look at them, through any gate that takes them.

A call with an idempotency key is repeated until it is answered, at another gate when a connection breaks, as clients
behind a balancer do. A call without one is sent once: only where it provably did not reach a gate it is sent again.
Every answer has to be a success.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from time import perf_counter_ns
from typing import Any

from tests.chaos.client import Answer, Broken, Client, Unreached
from tests.chaos.history import History, Note, Told
from tests.linearizability import Outcome

CALLERS = 12
JOURNALS = 5
ENTRIES_MAX = 300
THINK_S = 0.02
SWITCH_PAUSE_S = 0.05
DEADLINE_S = 90
PATIENCE_S = 100.0
FINAL_PATIENCE_S = 30.0


@dataclass
class Tally:
    """What happened to the calls.

    Attributes:
        answered: calls that succeeded.
        broken: calls without a key whose connection broke, so that nobody knows whether they took effect.
        failed: what calls were answered with instead of a result.
        latencies_s: of each call that was answered, all its attempts together.
        switched: how often a caller went to another gate.
    """

    answered: int
    broken: int
    failed: list[str]
    latencies_s: list[float]
    switched: int


class Load:
    """Callers, and what they saw.

    Attributes:
        history: every call.
        tally: what happened to the calls.
    """

    def __init__(self, gates: Sequence[str], name: str, seed: int) -> None:
        self.history = History()
        self.tally = Tally(0, 0, [], [], 0)
        self._name = name
        self._gates = list(gates)
        self.chance = random.Random(seed)
        self._entries = count(1)
        self._sizes = [0] * JOURNALS
        self._stopped = asyncio.Event()
        self._callers: list[asyncio.Task[None]] = []
        self._client = Client(PATIENCE_S)

    def start(self) -> None:
        """Begin to call."""
        self._callers = [asyncio.create_task(self._call_on(number)) for number in range(CALLERS)]

    async def stop(self) -> None:
        """Begin no more calls, and wait for the answers of those under way."""
        self._stopped.set()
        await asyncio.gather(*self._callers)

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()

    async def finals(self) -> dict[str, list[int]]:
        """Return what each journal holds now."""
        return {journal: await self._final(journal) for journal in self.history.journals}

    async def _final(self, journal: str) -> list[int]:
        entries: list[int] = await self.asked(("Journal", journal), "read")
        return entries

    async def asked(self, key: tuple[str, str], method: str) -> Any:
        """Return what a readonly method without parameters answers, at any gate that answers at all."""
        now = asyncio.get_running_loop().time
        until, gate, last = now() + FINAL_PATIENCE_S, 0, ""
        while now() < until:
            try:
                answer = await self.post(gate, key, method, {}, None)
            except (Unreached, Broken) as error:
                last = repr(error)
            else:
                if answer.status == 200:
                    return answer.value()
                last = answer.text
            gate += 1
            await asyncio.sleep(SWITCH_PAUSE_S)
        raise AssertionError(f"{method} of {key} is not answered in the end: {last}")

    @property
    def name(self) -> str:
        """What the ids of its objects begin with."""
        return self._name

    def journal_on(self, shard: int) -> str:
        """Return the journal that probes a shard."""
        return f"shard#{shard}/{self._name}"

    def next_entry(self) -> int:
        """Return an entry that nobody has appended."""
        return next(self._entries)

    async def probe(self, shard: int) -> None:
        """Append to a journal on a shard, with a key, and see it through."""
        await self._call(self.journal_on(shard), "append", keyed=True, gate=shard)

    async def append_slowly(self, journal: str, pause_s: float) -> None:
        """Append in a turn that takes its time, with a key, and see it through."""
        await self._call(f"{self._name}-{journal}", "append_slowly", keyed=True, gate=0, pause_s=pause_s)

    async def _call_on(self, gate: int) -> None:
        while not self._stopped.is_set():
            await asyncio.sleep(self.chance.uniform(0, 2 * THINK_S))
            slot, kind = self.chance.randrange(JOURNALS), self.chance.random()
            journal = f"{self._name}-{slot}-{self._sizes[slot] // ENTRIES_MAX}"
            if kind < 0.35:
                gate = await self._call(journal, "look", keyed=False, gate=gate)
            else:
                self._sizes[slot] += 1
                gate = await self._call(journal, "append", keyed=kind < 0.75, gate=gate)

    async def _call(self, journal: str, method: str, *, keyed: bool, gate: int, **arguments: Any) -> int:
        """Make one call, note what came of it, and return the gate that answered."""
        entry = self.next_entry() if method != "look" else None
        body = arguments if entry is None else {"entry": entry, **arguments}
        key = f"{self._name}-{entry}" if keyed else None
        called = perf_counter_ns()
        while True:
            try:
                answer = await self.post(gate, ("Journal", journal), method, body, key)
            except (Unreached, Broken) as error:
                gate += 1
                self.tally.switched += 1
                if not (keyed or entry is None or isinstance(error, Unreached)):
                    self.tally.broken += 1
                    self.history.note(journal, Note(entry, called, perf_counter_ns(), Outcome.UNKNOWN))
                    return gate
                await asyncio.sleep(SWITCH_PAUSE_S)
                continue
            self._note(journal, entry, called, answer)
            return gate

    def _note(self, journal: str, entry: int | None, called: int, answer: Answer) -> None:
        returned = perf_counter_ns()
        self.tally.latencies_s.append((returned - called) / 1e9)
        if answer.status == 200:
            self.tally.answered += 1
            told = Told(*answer.value())
            self.history.note(journal, Note(entry, called, returned, Outcome.DONE, told))
            return
        took_s = self.tally.latencies_s[-1]
        self.tally.failed.append(f"{journal}, entry {entry}, after {took_s:.1f} s: {answer.status} {answer.text}")
        if entry is not None:
            outcome = Outcome.FAILED if answer.value().get("executed") == "no" else Outcome.UNKNOWN
            self.history.note(journal, Note(entry, called, returned, outcome))

    async def post(self, gate: int, to: tuple[str, str], method: str, body: dict[str, Any], key: str | None) -> Answer:
        """Call a method of the object with type and id ``to``, under an idempotency key or without one.

        Raises:
            Unreached, Broken: there is no answer.
        """
        url = self._gates[gate % len(self._gates)]
        headers = {"GoVerse-Timeout": str(DEADLINE_S)}
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self._client.call(url, to, method, body, headers)
