"""The load of a chaos run: callers that append to journals and read them through any reachable gate.

A call with an idempotency key is repeated until it is answered, at another gate if a connection breaks, as a client
behind a load balancer does. A call without a key is sent once; it is repeated only if it certainly did not reach a
gate. Every response must be a success.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from time import perf_counter_ns
from typing import Any

from tests.chaos.client import UNAVAILABLE, Answer, Broken, Client, Unreached
from tests.chaos.history import History, Note, Told
from tests.linearizability import Outcome

CALLERS = 12
JOURNALS = 5
ENTRIES_MAX = 300
THINK_S = 0.02
SWITCH_PAUSE_S = 0.05
DEADLINE_S = 90
ANSWER_PATIENCE_S = 3 * DEADLINE_S
PATIENCE_S = 100.0
FINAL_PATIENCE_S = 30.0


@dataclass
class Tally:
    """Statistics of the calls.

    Attributes:
        answered: number of calls that succeeded.
        broken: number of calls without a key whose connection broke, so that their outcome is unknown.
        failed: error responses.
        latencies_s: duration of each answered call, including all attempts.
        switched: number of times that a caller switched to another gate.
    """

    answered: int
    broken: int
    failed: list[str]
    latencies_s: list[float]
    switched: int


class Load:
    """The callers and their observations.

    Attributes:
        history: every call.
        tally: statistics of the calls.
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
        """Start the callers."""
        self._callers = [asyncio.create_task(self._call_on(number)) for number in range(CALLERS)]

    async def stop(self) -> None:
        """Stop the callers, and wait until the running calls have ended."""
        self._stopped.set()
        await asyncio.gather(*self._callers)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def finals(self) -> dict[str, list[int]]:
        """Return the content of each journal now."""
        return {journal: await self._final(journal) for journal in self.history.journals}

    async def _final(self, journal: str) -> list[int]:
        entries: list[int] = await self.asked(("Journal", journal), "read")
        return entries

    async def asked(self, key: tuple[str, str], method: str) -> Any:
        """Return the result of a readonly method without parameters, from any gate that responds."""
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
        raise AssertionError(f"{method} of {key} was not answered within {FINAL_PATIENCE_S:g} s: {last}")

    async def answered(
        self, gate: int, to: tuple[str, str], method: str, body: dict[str, Any], key: str | None
    ) -> Answer:
        """Repeat a call that has a key, or is readonly, until a gate answers it.

        Raises:
            AssertionError: it was not answered in time.
        """
        last = "nothing"
        try:
            async with asyncio.timeout(ANSWER_PATIENCE_S):
                while True:
                    try:
                        answer = await self.post(gate, to, method, body, key)
                    except (Unreached, Broken) as error:
                        gate, last = gate + 1, repr(error)
                    else:
                        if answer.status not in UNAVAILABLE:
                            return answer
                        last = answer.text
                    await asyncio.sleep(THINK_S)
        except TimeoutError:
            raise AssertionError(f"{method} of {to} was not answered within {ANSWER_PATIENCE_S} s: {last}") from None

    @property
    def name(self) -> str:
        """Prefix of the ids of its objects."""
        return self._name

    def journal_on(self, shard: int) -> str:
        """Return the id of the journal that probes a shard."""
        return f"shard#{shard}/{self._name}"

    def next_entry(self) -> int:
        """Return a new, unique entry."""
        return next(self._entries)

    async def probe(self, shard: int) -> None:
        """Append to a journal on a shard, with a key, until the call succeeds."""
        await self._call(self.journal_on(shard), "append", keyed=True, gate=shard)

    async def append_slowly(self, journal: str, pause_s: float) -> None:
        """Append in a turn that takes ``pause_s``, with a key, until the call succeeds."""
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
        """Make one call, record its outcome, and return the index of the gate that answered."""
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
        """Call a method of the object with type and id ``to``, optionally with an idempotency key.

        Raises:
            Unreached, Broken: the gate did not respond.
        """
        url = self._gates[gate % len(self._gates)]
        headers = {"GoVerse-Timeout": str(DEADLINE_S)}
        if key is not None:
            headers["Idempotency-Key"] = key
        return await self._client.call(url, to, method, body, headers)
