"""The dispatcher delivers each call once, in order, and commits its outcome, through failures and restarts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from random import Random

import pytest

from goverse.errors import Overloaded, Unavailable
from goverse.model.effects import Effects, Mark
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse.model.receipts import SENDS_MAX
from goverse.model.replies import decode_reply
from goverse_node.messages.channel import Channel, Pending
from tests.unit.messages.town import EPOCH_MS, SHARDS, Town, key, refusal, run, sent

A, B, C = key("Sender", "a"), key("Receiver", "b"), key("Receiver", "c")


async def _play(seed: int, watch: Callable[[Town], None] = lambda _: None) -> None:
    """Send random calls through random faults, and compare the effects with what was sent and what became of it."""
    town, chance = Town(seed), Random(seed)
    watch(town)
    await town.opened()
    town.faults, town.store.failures = 0.15, 0.05
    town.behaviour = lambda _: chance.choice(
        (Reply(b"1"), Reply(b"1"), Reply(b"1"), refusal("method_failed"), refusal("sold_out", status=409))
    )
    town.then = lambda _: Reply(b"null") if chance.random() < 0.7 else refusal("method_failed")
    senders, receivers = [key("Sender", n) for n in range(4)], [key("Receiver", n) for n in range(3)]
    order: dict[tuple[ObjectKey, ObjectKey], list[str]] = defaultdict(list)
    count = 0
    for _ in range(60):
        sender, receiver = chance.choice(senders), chance.choice(receivers)
        ids = [f"c{count + n}" for n in range(chance.choice((1, 2, 20)))]
        calls = [
            sent(
                each,
                receiver,
                then="done" if chance.random() < 0.5 else "",
                attempts_max=chance.choice((3, 50)),
                expires_ms=town.clock.wall_ms() + 4_000 if chance.random() < 0.1 else 0,
                longest_ms=2_000,
                keep_ms=10**9,
            )
            for each in ids
        ]
        if await town.host.commit(sender, Effects(sends=tuple(calls))) is None:
            order[sender, receiver] += ids
            count += len(ids)
        await asyncio.sleep(chance.random() * 0.2)
        if chance.random() < 0.1:
            town.restart()
    town.faults = town.store.failures = 0.0
    await town.drained()

    for pair, ids in order.items():
        done = [call_id for *found, call_id in town.effects if tuple(found) == pair]
        assert done == [call_id for call_id in ids if call_id in set(done)], "out of order, or more than once"
    states = {call_id: end.state for call_id, end in town.store.ends.items() if not call_id.endswith(".then")}
    assert sorted(states) == sorted(call_id for ids in order.values() for call_id in ids), "a call without an end"
    assert {call_id for call_id, state in states.items() if state == "success"} == {each for *_, each in town.effects}
    received = [outcome["id"] for outcome in town.outcomes]
    assert len(received) == len(set(received)), "an outcome was received twice"
    assert all(states[outcome["id"]] == outcome["state"] for outcome in town.outcomes)


def test_a_seed_is_one_history() -> None:
    def history(seed: int) -> object:
        towns: list[Town] = []
        run(lambda: _play(seed, towns.append))
        [town] = towns
        deliveries = [(request.key, request.delivery) for request in town.deliveries]
        return town.effects, town.outcomes, deliveries, town.store.records

    first, second, other = history(3), history(3), history(4)

    assert first == second
    assert first != other


@pytest.mark.parametrize("seed", range(12))
def test_each_call_has_one_true_outcome_in_order_through_faults_and_restarts(seed: int) -> None:
    run(lambda: _play(seed))


def test_a_finished_call_leaves_nothing_behind() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, *(sent(f"c{n}", B) for n in range(100)))
        await town.drained(within_s=5)

        assert [call_id for *_, call_id in town.effects] == [f"c{n}" for n in range(100)]
        assert town.store.ends == {}
        assert town.dispatcher.counts.ended["success"] == 100
        assert not town.dispatcher.outboxes.pairs
        removals = [record for record in town.store.records if record.effects and record.effects.removes]
        assert len(removals) < 50, "removals of one sender share records"

    run(work)


def test_settled_calls_leave_their_room_in_a_window_that_has_shrunk() -> None:
    channel = Channel(A)
    for number in (1, 2, 3):
        channel.append(Pending(number, expires_ms=1_000, attempts_max=5))
    _, second, _ = channel.due(0)
    channel.settle(1)
    channel.refused(second, 10)
    assert channel.next_ms() == 10
    assert [delivery.number for delivery in channel.due(10)] == [2]


def test_removals_wait_for_others_but_not_if_an_outcome_is_kept_or_the_node_stops() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, sent("kept", B, keep_ms=60_000))
        await town.drained(within_s=0.5)
        await town.send(A, sent("c1", B))
        await town.until(lambda: len(town.effects) == 2)
        await asyncio.sleep(0.5)
        assert len(town.store.outbox) == 1
        town.dispatcher.stop_delivering()
        await town.drained(within_s=0.5)

    run(work)


def test_refusals_for_now_are_no_attempts() -> None:
    async def work() -> None:
        town = await Town().opened()
        codes = ["overloaded", "moving", "draining", "unavailable", "unknown_type"] * 10
        town.behaviour = lambda _: refusal(codes.pop()) if codes else Reply(b"1")
        await town.send(A, sent("c1", B, attempts_max=1))
        await town.drained()

        assert [call_id for *_, call_id in town.effects] == ["c1"]

    run(work)


def test_after_the_last_attempt_a_call_is_a_dead_letter_and_the_next_one_goes_on() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda request: (
            refusal("method_failed") if request.delivery and request.delivery.id == "poison" else Reply(b"1")
        )
        await town.send(A, sent("poison", B, attempts_max=3, then="done"), sent("after", B), sent("other", C))
        await town.drained()

        end = town.store.ends["poison"]
        assert (end.state, end.attempts) == ("dead", 3)
        problem = decode_reply(end.outcome, 0).problem
        assert problem is not None
        assert problem.code == "method_failed"
        assert end.expires_ms - end.finished_ms == 30 * 86_400_000
        assert [call_id for *_, call_id in town.effects] == ["other", "after"]
        assert [(each["state"], each["ok"]) for each in town.outcomes] == [("dead", False)]

    run(work)


def test_a_call_that_can_never_succeed_is_given_up_at_once() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("invalid_arguments")
        await town.send(A, sent("c1", B))
        await town.drained(within_s=1)

        assert town.store.ends["c1"].state == "dead"
        assert len(town.deliveries) == 2, "one attempt, and the void delivery"

    run(work)


def test_a_dropped_call_leaves_no_dead_letter() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("invalid_arguments")
        await town.send(A, sent("c1", B, on_failure="drop"))
        await town.drained()

        assert town.store.ends == {}

    run(work)


def test_a_business_error_is_an_outcome_that_is_kept() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("sold_out", status=409)
        await town.send(A, sent("c1", B, then="done"))
        await town.drained()

        assert town.store.ends["c1"].state == "failed"
        assert town.outcomes[0]["problem"]["code"] == "sold_out"
        assert len(town.deliveries) == 1

    run(work)


def test_a_call_that_waits_for_its_next_attempt_expires_on_time() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("method_failed")
        expires_ms = town.clock.wall_ms() + 10_000
        await town.send(A, sent("c1", B, then="done", expires_ms=expires_ms, first_ms=300_000))
        await town.drained()

        assert [each["state"] for each in town.outcomes] == ["expired"]
        assert abs(town.clock.wall_ms() - expires_ms) < 1_000
        assert town.effects == []

    run(work)


def test_a_cancelled_call_does_not_run_after_its_receiver_agreed() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("unavailable")
        await town.send(A, sent("c1", B, then="done"))
        await town.mark(A, Mark(town.pending("c1").number, void="cancelled"))
        town.restart()
        await town.drained()

        assert [each["state"] for each in town.outcomes] == ["cancelled"]
        end = town.store.ends["c1"]
        assert end.expires_ms - end.finished_ms == 86_400_000
        assert town.effects == []

    run(work)


def test_a_delayed_call_joins_the_order_when_it_is_due() -> None:
    async def work() -> None:
        town = await Town().opened()
        due_ms = town.clock.wall_ms() + 60_000
        await town.send(A, sent("later", B, due_ms=due_ms), sent("now", B))
        await town.until(lambda: len(town.effects) == 1)
        town.restart()
        await asyncio.sleep(30)
        await town.send(A, sent("next", B))
        await town.until(lambda: len(town.effects) == 3)

        assert [call_id for *_, call_id in town.effects] == ["now", "next", "later"]
        assert 0 <= town.clock.wall_ms() - due_ms < 1_000
        await town.drained()

    run(work)


def test_a_delayed_call_that_is_cancelled_ends_without_its_receiver() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, sent("later", B, due_ms=town.clock.wall_ms() + 60_000, then="done"))
        await town.mark(A, Mark(town.pending("later").number, void="cancelled"))
        await town.drained(within_s=10)

        assert [each["state"] for each in town.outcomes] == ["cancelled"]
        assert town.deliveries == []

    run(work)


def test_a_then_that_keeps_failing_becomes_a_dead_letter_of_its_own() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.then = lambda _: refusal("method_failed")
        await town.send(A, sent("c1", B, then="done", attempts_max=3), sent("c2", B))
        await town.drained()

        letter = town.store.ends["c1.then"]
        assert (letter.state, letter.attempts, letter.call.receiver, letter.call.method) == ("dead", 3, A, "done")
        assert b'"value":7' in letter.call.body
        assert [call_id for *_, call_id in town.effects] == ["c1", "c2"]
        assert list(town.store.ends) == ["c1.then"]

    run(work)


def test_a_call_to_a_silent_receiver_holds_up_only_its_own_pair() -> None:
    async def work() -> None:
        town = await Town(delivery_timeout_s=1.0).opened()
        town.behaviour = lambda request: None if request.key == B else Reply(b"1")
        await town.send(A, sent("silent", B), *(sent(f"c{n}", C) for n in range(50)))
        await town.until(lambda: len(town.effects) == 50, within_s=5)
        town.behaviour = lambda _: Reply(b"1")
        await town.drained()

        assert len(town.effects) == 51

    run(work)


def test_deliveries_stay_within_the_budget_and_every_pair_gets_its_share() -> None:
    async def work() -> None:
        town = await Town(inflight_calls_max=40).opened()
        for n in range(50):
            await town.send(A, *(sent(f"a{n}.{m}", key("Receiver", n)) for m in range(40)))
        late = key("Sender", "late")
        await town.send(late, sent("late", B))
        await town.until(lambda: any(call_id == "late" for *_, call_id in town.effects))

        assert town.most == 10
        assert len(town.effects) < 50 * 40 / 2, "the late pair waited for the calls of others"
        await town.drained()

    run(work)


def test_an_overloaded_receiver_gets_fewer_deliveries_at_a_time() -> None:
    async def work() -> None:
        town = await Town().opened()
        busy = [0, 0]

        def behaviour(_: object) -> Reply:
            if town.on_their_way > 20:
                busy[0] += 1
                return refusal("overloaded")
            return Reply(b"1")

        town.behaviour = behaviour
        for n in range(200):
            await town.send(key("Sender", n), *(sent(f"{n}.{m}", B) for m in range(5)))
        await town.drained()

        assert len(town.effects) == 1_000
        assert busy[0] < 1_000, "it kept on sending to a receiver that was overloaded"

    run(work)


def test_calls_that_are_sent_while_outboxes_are_read_keep_their_order() -> None:
    async def work() -> None:
        town = Town()
        await town.opened()
        town.dispatcher.stop_delivering()
        await town.send(A, *(sent(f"old{n}", B) for n in range(3)))
        town.restart()
        await town.send(A, sent("new", B))
        with pytest.raises(Unavailable):
            town.dispatcher.pending_of(A)
        await town.drained()

        assert [call_id for *_, call_id in town.effects] == ["old0", "old1", "old2", "new"]

    run(work)


def test_outboxes_are_read_in_pages_and_again_after_a_failure() -> None:
    async def work() -> None:
        town = Town()
        await town.send(A, *(sent(f"c{n}", key("Receiver", n % 7)) for n in range(2_500)))
        town.store.failures = 0.5
        town.open()
        await asyncio.sleep(5)
        town.store.failures = 0.0
        await town.drained()

        assert len(town.effects) == 2_500
        assert town.store.reads >= 3

    run(work)


def test_a_closed_shard_delivers_nothing_more() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("unavailable")
        await town.send(A, sent("c1", B))
        await asyncio.sleep(1)
        town.dispatcher.close(range(SHARDS))
        await asyncio.sleep(1)
        before = len(town.deliveries)
        await asyncio.sleep(60)

        assert len(town.deliveries) == before
        assert list(town.store.outbox), "the next owner of the shard delivers it"
        assert not town.dispatcher.outboxes.entries

    run(work)


def test_a_removal_that_the_store_fences_gives_up_the_shard() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("unavailable")
        await town.send(A, sent("c1", B))
        town.behaviour = lambda _: Reply(b"1")
        town.store.epoch += 1
        await town.until(lambda: bool(town.host.shards.lost))

        assert town.host.shards.lost[0] == (town.host.shards.shard_of(A), town.host.shards.number)

    run(work)


def test_an_object_has_a_bound_on_its_pending_calls() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, *(sent(f"c{n}", B, due_ms=town.clock.wall_ms() + 10**7) for n in range(SENDS_MAX - 1)))
        town.dispatcher.check_room(A, 1)
        town.dispatcher.check_room(C, SENDS_MAX)
        with pytest.raises(Overloaded):
            town.dispatcher.check_room(A, 2)

    run(work)


def test_the_pending_calls_of_an_object_are_known_until_their_outcome_is() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("unavailable")
        await town.send(A, sent("c1", B), sent("c2", C, due_ms=town.clock.wall_ms() + 10**7))
        await asyncio.sleep(1)

        assert [call.call.id for call in town.dispatcher.pending_of(A)] == ["c1", "c2"]
        found = town.dispatcher.find(A, "c2")
        assert found is not None
        assert found.call.receiver == C
        assert town.dispatcher.find(B, "c2") is None

    run(work)


def test_a_step_of_the_wall_clock_neither_expires_nor_delays_a_call() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: refusal("unavailable")
        await town.send(A, sent("c1", B, expires_ms=EPOCH_MS + 600_000))
        await asyncio.sleep(1)
        town.clock.skew_ms = 10**10
        await asyncio.sleep(1)
        town.clock.skew_ms = -(10**10)
        await asyncio.sleep(1)
        town.behaviour = lambda _: Reply(b"1")
        await town.drained(within_s=30)

        assert [call_id for *_, call_id in town.effects] == ["c1"]

    run(work)


def test_a_delivery_has_the_time_of_the_wall_clock_which_its_receiver_compares() -> None:
    """The running time of the sender stays behind after its machine was suspended, and its receiver has another."""

    async def work() -> None:
        town = await Town().opened()
        town.clock.skew_ms = 3_600_000
        await town.send(A, sent("c1", B))
        await town.until(lambda: len(town.effects) == 1)

        [request] = town.deliveries
        assert request.delivery is not None
        assert 0 <= town.clock.wall_ms() - request.delivery.sent_ms < 1_000

    run(work)


def test_a_record_of_an_earlier_epoch_sends_nothing_again() -> None:
    """The shard moved away and back before the answer to the commit came, and the calls have ended elsewhere."""

    async def work() -> None:
        town = await Town().opened()
        await town.send(A, sent("c1", B, then="done"))
        await town.drained()
        late = town.store.records[0]
        town.store.epoch = town.host.shards.number = 3
        await town.opened()
        await town.send(A, sent("c2", B))
        town.dispatcher.committed(late, 1)
        await town.drained(within_s=60)

        assert [call_id for *_, call_id in town.effects] == ["c1", "c2"]
        assert [each["id"] for each in town.outcomes] == ["c1"]

    run(work)
