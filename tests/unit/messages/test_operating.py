"""Operators see why a call waits, and can retry, skip, cancel, pause and send again."""

from __future__ import annotations

import asyncio
from itertools import count
from random import Random

import pytest

from goverse.errors import GoverseError, Moving, Unavailable
from goverse.model.call_status import CallStatus
from goverse.model.frames import Reply
from goverse_node.messages.operating import Operating
from tests.unit.messages.town import SHARDS, Town, TownHost, key, refusal, run, sent

A, B, C = key("Sender", "a"), key("Receiver", "b"), key("Receiver", "c")


def operating(town: Town) -> Operating:
    numbers = count(1)
    return Operating(town.dispatcher, town.store, lambda _sender: f"again{next(numbers)}", town.clock.wall_ms)


def one(operator: Operating, call_id: str) -> CallStatus:
    [found] = operator.find("default", call_id)
    return found


def test_a_status_says_why_a_call_waits() -> None:
    async def work() -> None:
        town = await Town().opened()
        operator = operating(town)
        town.behaviour = lambda request: None if request.key == C else refusal("method_failed")
        due_ms = town.clock.wall_ms() + 100_000
        await town.send(
            A, sent("bad", B, first_ms=10**8, longest_ms=10**8), sent("behind", B), sent("later", B, due_ms=due_ms)
        )
        await town.send(A, sent("slow", C))
        await asyncio.sleep(1)

        bad, behind = one(operator, "bad"), one(operator, "behind")
        assert (bad.state, bad.attempts) == ("pending", 1)
        assert bad.waits_for.startswith("attempt 2 in ")
        assert bad.problem is not None
        assert bad.problem.code == "method_failed"
        assert bad.next_attempt_ms is not None
        assert behind.waits_for.startswith("held behind bad, attempt 2, next in ")
        assert behind.next_attempt_ms is None
        assert one(operator, "later").waits_for == "due in 99 s"
        assert (one(operator, "slow").state, one(operator, "slow").waits_for) == ("running", "")
        assert [each.call.id for each in operator.list(receiver=B)] == ["bad", "behind", "later"]
        assert [each.call.id for each in operator.list(sender=A, limit=1)] == ["bad"]

    run(work)


def test_a_held_call_waits_for_an_operator_who_retries_it() -> None:
    async def work() -> None:
        town = await Town().opened()
        operator = operating(town)
        town.behaviour = lambda _: refusal("method_failed")
        await town.send(A, sent("c1", B, attempts_max=2, on_failure="hold"), sent("c2", B))
        await asyncio.sleep(60)

        assert one(operator, "c1").waits_for == "held by on_failure=hold after 2 attempts; retry or skip it"
        assert one(operator, "c2").waits_for == "held behind c1, attempt 3, held"
        assert town.store.ends == {}
        town.behaviour = lambda _: Reply(b"1")
        assert operator.retry("default", "c1") == 1
        await town.drained(within_s=10)
        assert [call_id for *_, call_id in town.effects] == ["c1", "c2"]

    run(work)


def test_a_delayed_call_that_is_retried_runs_now_and_once() -> None:
    async def work() -> None:
        town = await Town().opened()
        operator = operating(town)
        town.behaviour = lambda _: Reply(b"1")
        due_ms = town.clock.wall_ms() + 100_000
        await town.send(A, sent("later", B, due_ms=due_ms), sent("cancelled", B, due_ms=due_ms))
        assert await operator.cancel("default", "cancelled") == 1
        assert operator.retry("default", "cancelled") == 0
        assert operator.retry("default", "later") == 1
        assert operator.retry("default", "later") == 1, "it is on its way into its pair, once"
        await town.drained(within_s=10)
        assert [call_id for *_, call_id in town.effects] == ["later"]
        await asyncio.sleep(200)
        assert [call_id for *_, call_id in town.effects] == ["later"], "its time has come without effect"

    run(work)


def test_a_skipped_call_is_a_dead_letter_and_the_next_one_goes_on() -> None:
    async def work() -> None:
        town = await Town().opened()
        operator = operating(town)
        town.behaviour = lambda request: (
            refusal("method_failed") if request.delivery and request.delivery.id == "c1" else Reply(b"1")
        )
        await town.send(A, sent("c1", B, on_failure="hold", attempts_max=1), sent("c2", B))
        await asyncio.sleep(60)
        assert await operator.skip("default", "c1") == 1
        await town.drained(within_s=10)

        assert town.store.ends["c1"].state == "dead"
        assert [call_id for *_, call_id in town.effects] == ["c2"]

    run(work)


def test_a_cancelled_call_does_not_run() -> None:
    async def work() -> None:
        town = await Town().opened()
        operator = operating(town)
        town.behaviour = lambda _: refusal("unavailable")
        await town.send(A, sent("c1", B))
        assert await operator.cancel("default", "c1") == 1
        assert await operator.cancel("default", "c2") == 0
        await town.drained()

        assert town.store.ends["c1"].state == "cancelled"

    run(work)


def test_a_paused_pair_delivers_nothing_until_it_is_resumed() -> None:
    async def work() -> None:
        town = await Town().opened()
        operator = operating(town)
        operator.pause(A, B, town.host.shards.shard_of(A))
        await town.send(A, sent("c1", B), sent("c2", C))
        await asyncio.sleep(60)

        assert [call_id for *_, call_id in town.effects] == ["c2"]
        assert "paused by an operator" in one(operator, "c1").waits_for
        assert [pair.receiver for pair in operator.paused()] == [B]
        assert operator.resume(A, B)
        assert not operator.resume(A, B)
        await town.drained(within_s=10)
        assert [call_id for *_, call_id in town.effects] == ["c2", "c1"]

    run(work)


def test_a_pause_ends_when_its_shard_leaves_the_node_also_without_calls() -> None:
    async def work() -> None:
        town = await Town().opened()
        operator, shard = operating(town), town.host.shards.shard_of(A)
        operator.pause(A, B, shard)
        operator.pause(A, C, shard)
        await town.send(A, sent("c1", C))
        town.dispatcher.close([shard])

        assert list(operator.paused()) == []
        assert town.dispatcher.outboxes.pairs == {}
        with pytest.raises(Unavailable, match="the pending calls of Sender/a are not known yet"):
            operator.pause(A, B, shard)
        await town.opened()
        await town.send(A, sent("c2", B))
        await town.drained(within_s=10)
        assert sorted(call_id for *_, call_id in town.effects) == ["c1", "c2"]

    run(work)


def test_a_pause_that_begins_while_outboxes_are_read_holds_their_calls() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("unavailable")
        await town.send(A, sent("c1", B))
        town.dispatcher.close(range(SHARDS))
        await asyncio.sleep(1)
        town.restart()
        town.behaviour = lambda _: Reply(b"1")
        operator = operating(town)
        operator.pause(A, B, town.host.shards.shard_of(A))
        await asyncio.sleep(60)

        assert town.effects == []
        assert operator.resume(A, B)
        await town.drained(within_s=10)

    run(work)


def test_a_dead_letter_is_sent_again_once_though_it_is_requested_twice() -> None:
    async def work() -> None:
        town = await Town().opened()
        operator = operating(town)
        town.behaviour = lambda request: Reply(request.body) if request.body != b"{}" else refusal("invalid_arguments")
        lifetime_ms = 10_000
        now_ms = town.clock.wall_ms()
        await town.send(A, sent("c1", B, then="done", sent_ms=now_ms, expires_ms=now_ms + lifetime_ms))
        await town.drained()
        await asyncio.sleep(60)

        async def again() -> str | None:
            return await operator.redrive(A, "c1", town.host.shards.shard_of(A), body=b'{"n":1}')

        first, second = await asyncio.gather(again(), again())
        await town.drained()
        third = await again()

        assert first == second == third == "again1"
        assert [call_id for *_, call_id in town.effects] == ["again1"]
        assert [each["state"] for each in town.outcomes] == ["dead", "success"]
        assert town.outcomes[1]["value"] == {"n": 1}
        assert await operator.redrive(A, "unknown", town.host.shards.shard_of(A)) is None
        assert await operator.redrive(C, "c1", town.host.shards.shard_of(C)) is None

    run(work)


async def _with_dead_letters(town: Town, *ids: str) -> None:
    await town.opened()
    town.behaviour = lambda _: refusal("invalid_arguments")
    await town.send(A, *(sent(call_id, B) for call_id in ids))
    await town.drained()
    assert [town.store.ends[call_id].state for call_id in ids] == ["dead"] * len(ids)
    town.behaviour = lambda _: Reply(b"1")


def test_a_dead_letter_is_sent_again_once_though_its_shard_moves_away_and_back_meanwhile() -> None:
    async def work() -> None:
        town = Town()
        await _with_dead_letters(town, "c1")
        here, shard = town.host, town.host.shards.shard_of(A)
        town.store.answer_s = 5.0
        slow = asyncio.ensure_future(operating(town).redrive(A, "c1", shard))
        await asyncio.sleep(0.5)
        town.store.answer_s = 0.0
        town.restart()
        await town.opened()
        elsewhere = Operating(town.dispatcher, town.store, lambda _: "elsewhere", town.clock.wall_ms)
        assert await elsewhere.redrive(A, "c1", shard) == "elsewhere"
        town.serve_again(here)

        with pytest.raises(Moving):
            await slow
        assert await operating(town).redrive(A, "c1", shard) == "elsewhere"
        await town.drained()
        assert [call_id for *_, call_id in town.effects] == ["elsewhere"]

    run(work)


LETTERS = 200


def test_each_of_many_dead_letters_is_sent_again_once_whichever_nodes_are_asked() -> None:
    """Each is requested three times, at the node that serves its shard or at the one before, while shards move."""

    async def work() -> None:
        town, chance, numbers = Town(), Random(5), count(1)
        ids = [f"c{number}" for number in range(LETTERS)]
        await _with_dead_letters(town, *ids)
        shard = town.host.shards.shard_of(A)
        operators: dict[TownHost, Operating] = {}
        lives = [town.host]
        answers: dict[str, list[str | None]] = {call_id: [] for call_id in ids}

        async def ask(call_id: str, after_s: float) -> None:
            await asyncio.sleep(after_s)
            while True:
                host = chance.choice(lives[-2:])
                if host not in operators:
                    operators[host] = Operating(
                        host.dispatcher, town.store, lambda _: f"again{next(numbers)}", town.clock.wall_ms
                    )
                try:
                    answers[call_id].append(await operators[host].redrive(A, call_id, shard))
                except GoverseError:
                    await asyncio.sleep(0.1)
                else:
                    return

        starts = {call_id: chance.random() * 10 for call_id in ids}
        asked = [asyncio.ensure_future(ask(each, starts[each] + chance.random() / 2)) for each in ids for _ in range(3)]
        town.store.answer_s = 0.5
        while not all(each.done() for each in asked):
            await asyncio.sleep(chance.random() / 2)
            if chance.random() < 0.5 and len(lives) > 1:
                town.serve_again(lives[-2])
            else:
                town.restart()
            lives.append(town.host)
        await asyncio.gather(*asked)
        await town.drained()

        effects = [call_id for *_, call_id in town.effects]
        assert [(call_id, found) for call_id, found in answers.items() if len(set(found)) != 1] == []
        assert sorted(effects) == sorted(new_id for [new_id, *_] in answers.values() if new_id is not None)
        assert [end.call.id for end in town.store.ends.values() if end.state != "cancelled"] == []

    run(work)
