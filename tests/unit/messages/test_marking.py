"""A cancellation and the record that sends a delayed call again can meet in the queue of the commit pipeline."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Sequence

import pytest

from goverse.errors import GoverseError, Unavailable
from goverse.model.effects import Effects, Mark
from goverse.model.records import CommitRecord
from goverse.ports.store import CommitOutcome
from tests.unit.messages.town import Town, key, refusal, run, sent

A, B = key("Sender", "a"), key("Receiver", "b")
Batch = Sequence[CommitRecord]


class Meeting:
    """Holds the first batch of a town's store that ``held`` selects, until it is released.

    Attributes:
        fails: the held batch fails, once it is released.
    """

    def __init__(self, town: Town, held: Callable[[Effects], bool]) -> None:
        self.fails = False
        self._reached, self._released = asyncio.Event(), asyncio.Event()
        write = town.store.commit

        async def commit(batch: Batch) -> Sequence[CommitOutcome]:
            first = not self._reached.is_set()
            if first and any(record.effects is not None and held(record.effects) for record in batch):
                self._reached.set()
                await self._released.wait()
                if self.fails:
                    raise Unavailable("the store does not answer")
            return await write(batch)

        town.store.commit = commit  # type: ignore[method-assign]

    async def reached(self) -> None:
        await self._reached.wait()

    def release(self, *, fails: bool = False) -> None:
        self.fails = fails
        self._released.set()


def _sends_again(effects: Effects) -> bool:
    return bool(effects.sends and effects.removes)


def _marks(effects: Effects) -> bool:
    return bool(effects.marks)


async def _delayed(town: Town) -> int:
    """Send a call that is due in a minute, and return its number."""
    await town.send(A, sent("later", B, due_ms=town.clock.wall_ms() + 60_000, then="done"))
    return town.pending("later").number


def _cancel(town: Town, number: int) -> Future[GoverseError | None]:
    """Begin to commit a cancellation, as a turn does that knows the call under ``number``."""
    return asyncio.ensure_future(town.host.commit(A, Effects(marks=(Mark(number, void="cancelled"),))))


def _states(town: Town) -> list[str]:
    return [each["state"] for each in town.outcomes]


@pytest.mark.parametrize("fails", [False, True], ids=["durable", "failed"])
def test_a_cancellation_behind_the_record_that_sends_the_call_again_is_durable(fails: bool) -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("unavailable")
        number = await _delayed(town)
        meeting = Meeting(town, _sends_again)
        await meeting.reached()
        cancelled = _cancel(town, number)
        await asyncio.sleep(0)
        meeting.release(fails=fails)
        assert await cancelled is None
        assert town.pending("later").void == "cancelled"
        town.restart()
        await town.drained()

        assert _states(town) == ["cancelled"]
        assert town.effects == []

    run(work)


def test_a_cancellation_that_names_the_earlier_number_finds_the_call() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("unavailable")
        number = await _delayed(town)
        await town.until(lambda: town.pending("later").number != number)
        assert await _cancel(town, number) is None
        assert town.pending("later").void == "cancelled"
        await town.drained()

        assert _states(town) == ["cancelled"]
        assert town.effects == []

    run(work)


def test_a_call_is_not_sent_again_behind_its_cancellation() -> None:
    async def work() -> None:
        town = await Town().opened()
        number = await _delayed(town)
        meeting = Meeting(town, _marks)
        cancelled = _cancel(town, number)
        await meeting.reached()
        await asyncio.sleep(90)
        meeting.release()
        assert await cancelled is None
        await town.drained()

        assert _states(town) == ["cancelled"]
        assert town.effects == []
        assert not any(_sends_again(record.effects) for record in town.store.records if record.effects is not None)

    run(work)


def test_a_call_whose_cancellation_failed_is_sent_again_when_it_is_due() -> None:
    async def work() -> None:
        town = await Town().opened()
        number = await _delayed(town)
        meeting = Meeting(town, _marks)
        cancelled = _cancel(town, number)
        await meeting.reached()
        await asyncio.sleep(90)
        meeting.release(fails=True)
        assert isinstance(await cancelled, Unavailable)
        await town.drained()

        assert _states(town) == ["success"]
        assert town.effects == [(A, B, "later")]

    run(work)


def test_a_call_that_has_ended_leaves_no_earlier_number() -> None:
    async def work() -> None:
        town = await Town().opened()
        number = await _delayed(town)
        await town.drained()

        assert town.dispatcher.outboxes.present(number) is None
        assert _states(town) == ["success"]

    run(work)
