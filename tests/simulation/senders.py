"""Clients whose calls let parties send each other reliable calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import orjson

from goverse.errors import Executed
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from tests.simulation.call_log import NEVER, SILENT
from tests.simulation.client import RETRY_S, TIMEOUT_S, Caller
from tests.simulation.program import Parcel
from tests.simulation.settings import PARTIES

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster

EXPECTED = ("method_failed", "object_not_found")
"""Errors that are the right answer to what a client asked for."""


def party_key(party: str) -> ObjectKey:
    """Return the key of a party."""
    return ObjectKey(DEFAULT_NAMESPACE, "Party", party)


class SimulatedSender(Caller):
    """One client. It repeats a call with a key until the call succeeds.

    Attributes:
        busy: the call in progress, or empty.
    """

    def __init__(self, cluster: SimulatedCluster, number: int) -> None:
        super().__init__(cluster, f"sender-{number}")
        self.busy = ""
        self._random = cluster.world.random
        self._log = cluster.watchers.calls
        self._number = number
        self._calls = self._parcels = 0
        self._ids: list[tuple[str, str]] = []

    async def run(self) -> None:
        """Make calls until ``stopped``."""
        while not self.stopped:
            await asyncio.sleep(self._random.uniform(0, 2 * self._cluster.settings.send_s))
            if not self.stopped:
                await self._act()
                self.busy = ""

    async def _act(self) -> None:
        draw = self._random.random()
        if draw < 0.1 and self._ids:
            party, call_id = self._random.choice(self._ids[-4:])
            await self._ask(party, "take_back", {"call_id": call_id})
        elif draw < 0.13:
            await self._ask(self._party(), "", {}, Operation.DELETE)
        elif draw < 0.18:
            await self._post("post_and_fail", NEVER)
        elif draw < 0.23:
            await self._redrive()
        elif draw < 0.4:
            await self._post("post_silently", SILENT)
        else:
            await self._post("post", "")

    async def _post(self, method: str, prefix: str) -> None:
        parcels = [self._parcel(prefix) for _ in range(self._random.choice((1, 1, 2, 4)))]
        await self.post(self._party(), method, parcels)

    async def post(self, party: str, method: str, parcels: Sequence[Parcel]) -> None:
        """Let a party send some parcels, and compare the answer with the log."""
        names = [parcel.name for parcel in parcels]
        reply = await self._ask(party, method, {"parcels": [parcel.model_dump() for parcel in parcels]})
        if reply is not None and reply.problem is None:
            self._log.acknowledged(names)
            self._ids += [(party, call_id) for call_id in orjson.loads(reply.body)]
        elif reply is not None and reply.problem is not None and reply.problem.executed is Executed.NO:
            self._log.denied(names)

    def _parcel(self, prefix: str) -> Parcel:
        random = self._random
        self._parcels += 1
        how: Any = random.choices(("take", "slow", "refuse", "flaky", "break"), (50, 10, 10, 15, 15))[0]
        then: Any = random.choices(("", "ended", "ended_in_vain"), (50, 46, 4))[0]
        is_brief = random.random() < 0.2
        on_failure: Literal["dead_letter", "hold", "drop"] = "dead_letter"
        if random.random() < 0.2:
            on_failure = "hold" if is_brief else "drop"
        return Parcel(
            name=f"{prefix}{self._number}.{self._parcels}",
            to=self._party(),
            how=how,
            onward=self._party() if how in ("take", "slow") and random.random() < 0.15 else "",
            then=then,
            has_id=random.random() < 0.5,
            attempts=2 if how == "break" else 3 if then == "ended_in_vain" else 20,
            expires_s=random.uniform(0.2, 3.0) if is_brief else 3600.0,
            delay_s=random.uniform(0.1, 2.0) if random.random() < 0.1 else 0.0,
            on_failure=on_failure,
        )

    async def _redrive(self) -> None:
        """Send a dead letter again, twice at once, wherever its sender may be served."""
        letters = self._log.dead()
        if letters:
            letter = self._random.choice(letters)
            self.busy = f"redrive {letter}"
            body = orjson.dumps({"name": letter.name, "how": "take", "onward": ""})
            await self._cluster.redrive(letter.sender, letter.call.id, body)

    def _party(self) -> str:
        return f"party-{self._random.randrange(PARTIES)}"

    async def _ask(
        self, party: str, method: str, arguments: dict[str, Any], operation: Operation = Operation.CALL
    ) -> Reply | None:
        self._calls += 1
        key = f"{self._name}.{self._calls}" if self._random.random() < 0.6 else None
        self.busy = f"{method or 'delete'} of {party}"
        while True:
            request = Request(
                operation,
                party_key(party),
                method,
                orjson.dumps(arguments) if arguments else b"",
                self._world.now + TIMEOUT_S,
                f"{self._name}.{self._calls}",
                key,
            )
            reply = await self.submit(request, f"{self.busy} key {key}")
            problem = None if reply is None else reply.problem
            if reply is not None and (problem is None or problem.code in EXPECTED):
                return reply
            self._cluster.watchers.failures += 1
            if problem is not None and not problem.retryable:
                self._cluster.watchers.found.append(f"{self.busy} was refused: {problem}")
            if key is None or (problem is not None and not problem.retryable):
                return reply
            await asyncio.sleep(RETRY_S)
