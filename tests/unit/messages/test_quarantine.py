"""A call that ends each node that runs it is given up after three trials; calls on their way with it are not."""

from __future__ import annotations

import asyncio

import pytest

from goverse.errors import Executed
from goverse.model.frames import Problem, Reply, Request
from goverse.model.receipts import LOST_WITH
from goverse.model.replies import decode_reply
from goverse_node.messages import quarantine
from goverse_node.messages.operating import Operating
from goverse_node.runtime.alone import Alone
from tests.unit.messages.town import Town, key, refusal, run, sent

pytestmark = pytest.mark.requirement("DUR-3")

A = key("Buyer", "a")


class Bomb:
    """A method that ends its node when it runs for one of the ``guilty`` calls."""

    def __init__(self, town: Town, *guilty: str) -> None:
        self.town, self.guilty = town, guilty
        self.ended = 0
        town.behaviour = self

    def __call__(self, request: Request) -> Reply | None:
        assert request.delivery is not None
        if request.delivery.id not in self.guilty:
            return Reply(b"7")
        self.ended += 1
        self.town.restart(crashed=True)
        return None


def state(town: Town, call_id: str) -> tuple[str, str]:
    end = town.store.ends[call_id]
    problem = decode_reply(end.outcome, 0).problem
    assert problem is not None
    return end.state, problem.code


def marks(town: Town) -> list[int]:
    return [mark.attempts for record in town.store.records if record.effects for mark in record.effects.marks]


def test_a_call_that_ends_its_node_is_given_up_after_three_trials() -> None:
    async def work() -> None:
        town = await Town().opened()
        bomb = Bomb(town, "bad")
        await town.send(A, sent("bad", key("Shop", 1)))
        await town.until(lambda: "bad" in town.store.ends or bomb.ended > 4)
        assert bomb.ended == 4
        assert state(town, "bad") == ("dead", "suspected_crash")
        assert marks(town) == [quarantine.SUSPECTED, quarantine.ON_TRIAL, 3, quarantine.LAST_TRIAL, 4]

    run(work)


@pytest.mark.parametrize("pairs", [1, 7, 300])
def test_calls_that_were_on_their_way_with_it_take_effect_once_and_in_order(pairs: int) -> None:
    async def work() -> None:
        town = await Town().opened()
        bomb = Bomb(town, "bad")
        innocent = [sent(f"c{number}", key("Shop", number % pairs)) for number in range(300)]
        await town.send(A, *innocent[:150], sent("bad", key("Shop", 0)), *innocent[150:])
        await town.drained()
        assert (bomb.ended, state(town, "bad")) == (4, ("dead", "suspected_crash"))
        for pair in range(pairs):
            took = [each for _, receiver, each in town.effects if receiver == key("Shop", pair)]
            assert took == [each.id for each in innocent if each.receiver == key("Shop", pair)]

    run(work)


def test_two_guilty_calls_are_both_found() -> None:
    async def work() -> None:
        town = await Town().opened()
        bomb = Bomb(town, "bad", "worse")
        await town.send(A, *(sent(f"c{number}", key("Shop", number)) for number in range(40)))
        await town.send(A, sent("bad", key("Shop", 2)), sent("worse", key("Shop", 3)), sent("last", key("Shop", 3)))
        await town.drained()
        assert (bomb.ended, state(town, "bad"), state(town, "worse")) == (
            7,
            ("dead", "suspected_crash"),
            ("dead", "suspected_crash"),
        )
        assert len(town.effects) == 41

    run(work)


def test_without_a_sign_of_an_unclean_end_no_call_is_marked() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, *(sent(f"c{number}", key("Shop", number)) for number in range(40)))
        town.restart()
        await town.drained()
        assert not marks(town)
        assert not [each for each in town.deliveries if each.delivery and each.delivery.alone]

    run(work)


class Unlucky:
    """A node that ends from other causes while ``call_id`` is running, until it has ended ``ends`` times."""

    def __init__(self, town: Town, call_id: str, ends: int, *, orderly: bool = False) -> None:
        self.town, self.call_id, self.ends, self.orderly = town, call_id, ends, orderly
        town.behaviour = self

    def __call__(self, request: Request) -> Reply | None:
        assert request.delivery is not None
        if request.delivery.id != self.call_id or not self.ends:
            return Reply(b"7")
        self.ends -= 1
        self.town.restart(crashed=True, sign=not self.orderly)
        return None


def test_a_call_whose_node_is_ended_by_others_during_two_trials_takes_effect() -> None:
    async def work() -> None:
        town = await Town().opened()
        Unlucky(town, "c1", 3)
        await town.send(A, *(sent(f"c{number}", key("Shop", number)) for number in range(4)))
        await town.drained()
        assert (sorted(each for _, _, each in town.effects), town.store.ends) == (["c0", "c1", "c2", "c3"], {})

    run(work)


def test_a_trial_that_an_orderly_end_interrupts_does_not_count() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: None
        await town.send(A, sent("c1", key("Shop", 1)))
        await town.until(lambda: bool(town.deliveries))
        Unlucky(town, "c1", 9, orderly=True)
        town.restart(crashed=True)
        await town.drained()
        assert ([each for _, _, each in town.effects], town.store.ends) == (["c1"], {})
        assert set(marks(town)) == {quarantine.SUSPECTED, quarantine.ON_TRIAL}

    run(work)


def test_an_attempt_that_fails_acquits() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, sent("c1", key("Shop", 1), attempts_max=3))
        town.behaviour = lambda _: None
        await town.until(lambda: bool(town.deliveries))
        town.behaviour = lambda _: refusal("method_failed")
        town.restart(crashed=True)
        await town.drained()
        assert marks(town)[:3] == [quarantine.SUSPECTED, quarantine.ON_TRIAL, 0]
        assert not [mark for mark in marks(town)[3:] if mark]
        assert state(town, "c1") == ("dead", "method_failed")

    run(work)


def test_one_suspect_runs_at_a_time() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: None
        await town.send(A, *(sent(f"c{number}", key("Shop", number)) for number in range(40)))
        await town.until(lambda: town.on_their_way == 40)
        town.on_their_way = town.most = 0
        town.behaviour = lambda _: Reply(b"7")
        town.restart(crashed=True)
        await town.drained()
        assert (town.most, len(town.effects)) == (1, 40)

    run(work)


def test_calls_behind_the_suspects_wait_for_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "SUSPECTS_MAX", 10)

    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: None
        await town.send(A, *(sent(f"c{number}", key("Shop", number)) for number in range(40)))
        await town.until(lambda: town.on_their_way == 40)
        town.behaviour = lambda _: Reply(b"7")
        town.restart(crashed=True)
        await town.drained()
        took = [each for _, _, each in town.effects]
        assert sorted(took[:10]) == sorted(f"c{number}" for number in range(10))
        alone = {each.delivery.id for each in town.deliveries if each.delivery is not None and each.delivery.alone}
        assert (len(took), len(alone)) == (40, 10)

    run(work)


def test_a_suspect_that_cannot_be_tried_delays_the_calls_behind_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "SUSPECTS_MAX", 1)

    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: None
        await town.send(A, *(sent(f"c{number}", key("Shop", number)) for number in range(3)))
        await town.until(lambda: town.on_their_way == 3)
        town.behaviour = lambda request: refusal("unknown_type") if request.key == key("Shop", 0) else Reply(b"7")
        town.restart(crashed=True)
        await town.until(lambda: len(town.effects) == 2, within_s=quarantine.BEHIND_MS / 1000 + 1)
        [status] = Operating(town.dispatcher, town.store, lambda _: "", town.clock.wall_ms).find("default", "c0")
        assert "it runs alone" in status.waits_for

    run(work)


def test_a_then_that_ends_its_node_becomes_a_dead_letter_of_its_own() -> None:
    async def work() -> None:
        town = await Town().opened()
        ended = 0

        def then(request: Request) -> Reply | None:
            nonlocal ended
            if b"bad" not in request.body:
                return Reply(b"null")
            ended += 1
            town.restart(crashed=True)
            return Reply(problem=Problem("draining", "it has ended"))

        town.then = then
        await town.send(A, sent("c1", key("Shop", 1), then="paid"), sent("bad", key("Shop", 1), then="paid"))
        await town.drained()
        assert (ended, state(town, "bad.then")) == (4, ("dead", "suspected_crash"))
        assert [each["id"] for each in town.outcomes] == ["c1"]
        assert [each for _, _, each in town.effects] == ["c1", "bad"]

    run(work)


def test_a_call_with_hold_is_held_and_not_given_up() -> None:
    async def work() -> None:
        town = await Town().opened()
        bomb = Bomb(town, "bad")
        await town.send(A, sent("bad", key("Shop", 1), on_failure="hold"), sent("next", key("Shop", 1)))
        await town.until(lambda: bool(town.store.outbox) and town.pending("bad").void == "crashed")
        town.restart()
        await town.until(lambda: not any(each.loading for each in town.dispatcher.outboxes.shards.values()))
        entry = next(each for each in town.dispatcher.outboxes.entries.values() if each.call.id == "bad")
        assert (entry.place.held, entry.problem and entry.problem.code) == (True, "suspected_crash")
        assert (bomb.ended, town.effects) == (4, [])

    run(work)


class Remote:
    """Receivers in other processes. A process ends when one of the ``guilty`` calls runs, and the next one takes over.

    As the router does, it names the process that a delivery was lost with, and does not deliver a call again that was
    lost with a process that has ended.
    """

    def __init__(self, town: Town, *guilty: str) -> None:
        self.town, self.guilty = town, guilty
        self.ended = 0
        self.over = asyncio.Event()
        town.behaviour, town.host.calls = self._run, self

    def submit(self, request: Request) -> asyncio.Future[Reply]:
        return asyncio.ensure_future(self._deliver(request))

    def _run(self, request: Request) -> Reply | None:
        assert request.delivery is not None
        if request.delivery.id not in self.guilty:
            return Reply(b"7")
        self.ended += 1
        self.over.set()
        self.over = asyncio.Event()
        self.town.host.alone = Alone()
        return None

    async def _deliver(self, request: Request) -> Reply:
        assert request.delivery is not None
        if request.delivery.lost_with not in ("", self._process):
            return Reply(problem=Problem("suspected_crash", "the process ended", executed=Executed.NO))
        process = self._process
        answer, over = self.town.host.submit(request), asyncio.ensure_future(self.over.wait())
        await asyncio.wait((answer, over), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if answer.done():
            return answer.result()
        answer.cancel()
        lost = Problem("unavailable", "the connection broke", True, executed=Executed.UNKNOWN)
        lost.extra = {LOST_WITH: process}
        return Reply(problem=lost)

    @property
    def _process(self) -> str:
        return f"p{self.ended}"


def test_a_call_that_ends_the_processes_of_its_receiver_is_given_up() -> None:
    async def work() -> None:
        town = await Town().opened()
        remote = Remote(town, "bad")
        innocent = [sent(f"c{number}", key("Shop", number)) for number in range(30)]
        await town.send(A, *innocent[:15], sent("bad", key("Shop", 3)), *innocent[15:])
        await town.drained()
        assert (remote.ended, state(town, "bad")) == (4, ("dead", "suspected_crash"))
        assert sorted(each for _, _, each in town.effects) == sorted(each.id for each in innocent)

    run(work)
