"""Sagas go on after kills and failed commits: each step and each undo takes effect once, in order."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from goverse.model.effects import Mark, SentCall
from goverse.model.frames import Reply, Request
from goverse.model.notes import SAGA, note_id
from goverse.model.sagas import Saga, SagaCall
from tests.unit.messages.town import Town, key, refusal, run

pytestmark = pytest.mark.requirement("DUR-7")

A = key("Order", "a")
ID = note_id(SAGA, "s")
UNDONE = ["do0", "do1", "do2", "undo1", "undo0", "ended"]


class Story:
    """The methods that took effect in a town, and those that do not succeed."""

    def __init__(self, town: Town, **answers: str) -> None:
        self.happened: list[str] = []
        self.outcome: dict[str, Any] = {}
        self._town, self._answers = town, answers
        town.behaviour = self._run

    def _run(self, request: Request) -> Reply:
        code = self._answers.get(request.method)
        if code is None or code == "refused":
            self.happened.append(request.method)
        if request.method == "ended":
            self.outcome = orjson.loads(request.body)["outcome"]
        if code == "refused":
            return refusal(code, status=409)
        return Reply(b"7") if code is None else refusal(code)

    async def begin(self) -> None:
        steps = tuple(SagaCall(key("Stock", n), f"do{n}", b"{}", 600_000, 3) for n in range(3))
        undos = tuple(SagaCall(key("Stock", n), f"undo{n}", b"{}", 0, 3) for n in range(3))
        saga, first = Saga("ended", steps, undos), steps[0]
        call = SentCall("c_1", first.receiver, first.method, first.body, then=ID, expires_ms=self.expires_ms)
        await self._town.send(A, call, SentCall(ID, A, SAGA, saga.encode()))

    @property
    def expires_ms(self) -> int:
        return self._town.clock.wall_ms() + 600_000


async def _gone(town: Town) -> None:
    await town.until(lambda: not any(shard.loading for shard in town.dispatcher.outboxes.shards.values()))
    await town.drained()
    assert len(town.dispatcher.notes) == 0
    await town.quiet()


def test_a_saga_completes_and_gives_its_results() -> None:
    async def work() -> None:
        town = await Town().opened()
        story = Story(town)
        await story.begin()
        await _gone(town)

        assert story.happened == ["do0", "do1", "do2", "ended"]
        assert story.outcome == {"id": ID, "state": "success", "ok": True, "value": [7, 7, 7]}
        assert town.store.ends == {}

    run(work)


@pytest.mark.parametrize("after", range(6))
def test_a_saga_that_is_undone_survives_a_kill_at_each_point(after: int) -> None:
    async def work() -> None:
        town = await Town().opened()
        story = Story(town, do2="refused")
        await story.begin()
        await town.until(lambda: len(story.happened) >= after)
        town.restart()
        await _gone(town)

        assert story.happened == UNDONE
        assert (story.outcome["state"], story.outcome["problem"]["code"]) == ("failed", "refused")
        assert story.outcome["problem"]["extra"] == {"step": "Stock.do2", "state": "failed"}
        assert town.store.ends == {}

    run(work)


@pytest.mark.parametrize("seed", range(8))
def test_a_saga_survives_failed_commits_lost_answers_and_kills(seed: int) -> None:
    async def work() -> None:
        town = await Town(seed).opened()
        story = Story(town, do2="refused")
        town.delay_s = 0.5
        await story.begin()
        town.store.failures, town.faults = 0.3, 0.2
        for _ in range(3):
            await town.until(lambda: town.chance.random() < 0.1)
            town.restart()
        town.store.failures = 0.0
        await _gone(town)

        assert story.happened == UNDONE

    run(work)


def test_an_undo_that_fails_is_held_until_an_operator_skips_it() -> None:
    async def work() -> None:
        town = await Town().opened()
        story = Story(town, do2="refused", undo1="method_failed")
        await story.begin()
        await town.until(lambda: any(entry.place.held for entry in town.dispatcher.outboxes.entries.values()))
        [entry] = town.dispatcher.outboxes.entries.values()
        assert (entry.call.method, story.happened) == ("undo1", ["do0", "do1", "do2"])
        town.restart()
        await town.until(lambda: any(entry.place.held for entry in town.dispatcher.outboxes.entries.values()))
        await town.mark(A, Mark(entry.number, void="skipped"))
        await _gone(town)

        assert story.happened == ["do0", "do1", "do2", "undo0", "ended"]
        assert story.outcome["state"] == "dead"
        assert story.outcome["problem"]["extra"]["not_undone"] == ["Stock.undo1"]
        assert [(end.call.method, end.state) for end in town.store.ends.values()] == [("undo1", "dead")]

    run(work)


def test_a_step_that_is_given_up_leaves_no_dead_letter() -> None:
    async def work() -> None:
        town = await Town().opened()
        story = Story(town, do1="method_failed")
        await story.begin()
        await _gone(town)

        assert story.happened == ["do0", "undo0", "ended"]
        assert story.outcome["problem"]["extra"] == {"step": "Stock.do1", "state": "dead"}
        assert town.store.ends == {}

    run(work)
