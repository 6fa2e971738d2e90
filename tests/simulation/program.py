"""The objects of a simulated cluster: logs, relays that append to a log by a call from object to object, and parties.

A party sends reliable calls to other parties, and receives theirs. Each turn of a party that changes it says in
``news`` what it did, so the commit records of parties tell the whole story (``tests.simulation.call_log``).
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from typing import Any, Final, Literal

from pydantic import BaseModel

from goverse import BusinessError, Object, Outcome, call, handler

CHANCE: Final = Random()
"""The draws of methods. ``SimulatedCluster.play`` seeds it."""

FIRST_WAIT: Final = timedelta(milliseconds=50)
LONGEST_WAIT: Final = timedelta(seconds=1)


class Broken(Exception):
    """A method fails on purpose."""


class Refused(BusinessError):
    """The party does not take this."""

    status = 409
    code = "refused"


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


class Parcel(BaseModel):
    """One reliable call that a party is to send.

    Attributes:
        name: unique in a run.
        to: the id of the receiving party.
        how: what its method does. A flaky one fails now and then, a broken one each time.
        onward: the party to which the receiver sends a call in turn, with a ``+`` behind the name.
        then: what the sender does with the outcome: take it, take it after some failures, or fail each time.
        has_id: the call has its name as its id, and not a generated one.
    """

    name: str
    to: str
    how: Literal["take", "slow", "refuse", "flaky", "break"] = "take"
    onward: str = ""
    then: Literal["", "ended", "ended_in_vain"] = ""
    has_id: bool = False
    attempts: int = 20
    expires_s: float = 3600.0
    delay_s: float = 0.0
    on_failure: Literal["dead_letter", "hold", "drop"] = "dead_letter"


class Party(Object, delete="anyone"):
    """Sends and receives reliable calls.

    Attributes:
        turns: the number of turns that changed it, so that each of them is a change.
        news: what the last of these did: ``sent NAME``, ``got NAME``, ``ended ID STATE VALUE``.
    """

    turns: int = 0
    news: list[str] = []

    @call
    def post(self, parcels: list[Parcel]) -> list[str]:
        """Send the parcels, and keep that in the state."""
        self._tell(*(f"sent {parcel.name}" for parcel in parcels))
        return [self._send(parcel) for parcel in parcels]

    @call
    def post_silently(self, parcels: list[Parcel]) -> list[str]:
        """Send the parcels without a change of the state."""
        return [self._send(parcel) for parcel in parcels]

    @call
    def post_and_fail(self, parcels: list[Parcel]) -> None:
        """Send the parcels and fail, so that nothing is sent."""
        self.post(parcels)
        raise Broken

    @call
    def take_back(self, call_id: str) -> bool:
        return self.cancel(call_id)

    @handler(raises=(Refused,))
    async def take(self, name: str, how: str = "take", onward: str = "") -> str:
        if how == "slow":
            await asyncio.sleep(CHANCE.uniform(0, 0.4))
        self._tell(f"got {name}", *([f"sent {name}+"] if onward else []))
        if onward:
            self._send(Parcel(name=f"{name}+", to=onward))
        if how == "refuse":
            raise Refused("not this one")
        if how == "break" or (how == "flaky" and CHANCE.random() < 0.5):
            raise Broken
        return name

    @handler
    def ended(self, outcome: Outcome[str]) -> None:
        self._tell(f"ended {outcome.id} {outcome.state} {outcome.value if outcome.ok else ''}")
        if CHANCE.random() < 0.2:
            raise Broken

    @handler
    def ended_in_vain(self, outcome: Outcome[str]) -> None:
        self._tell(f"ended {outcome.id} {outcome.state}")
        raise Broken

    def _tell(self, *news: str) -> None:
        self.turns += 1
        self.news = list(news)

    def _send(self, parcel: Parcel) -> str:
        options: dict[str, Any] = {}
        if parcel.then:
            options["then"] = getattr(self, parcel.then)
        if parcel.has_id:
            options["id"] = parcel.name
        if parcel.delay_s:
            options["delay"] = timedelta(seconds=parcel.delay_s)
        sending = self.sending(
            attempts=parcel.attempts,
            expires=timedelta(seconds=parcel.expires_s),
            backoff=(FIRST_WAIT, LONGEST_WAIT),
            on_failure=parcel.on_failure,
            **options,
        )
        take = self.ref(Party, parcel.to).take if parcel.to != self.id else self.take
        call_id: str = sending(take, name=parcel.name, how=parcel.how, onward=parcel.onward).id
        return call_id
