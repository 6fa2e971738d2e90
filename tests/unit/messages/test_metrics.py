"""Metrics of reliable calls."""

from __future__ import annotations

import asyncio

from goverse_node.messages.metrics import MessageMetrics
from goverse_node.messages.operating import Operating
from tests.unit.messages.town import Town, key, refusal, run, sent

A, B, C = key("Sender", "a"), key("Receiver", "b"), key("Receiver", "c")


def values(town: Town) -> dict[tuple[str, ...], float]:
    families = MessageMetrics(town.dispatcher, town.clock).collect()
    return {
        (sample.name.removeprefix("goverse_reliable_calls_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_pending_ended_and_repeated_calls_are_counted() -> None:
    async def work() -> None:
        town = await Town().opened()
        now_ms = town.clock.wall_ms()
        town.behaviour = lambda request: None if request.key == C else refusal("method_failed")
        await town.send(A, sent("later", B, sent_ms=now_ms - 10**6, due_ms=now_ms + 10**6))
        await town.send(A, sent("bad", B, attempts_max=2, sent_ms=now_ms), sent("slow", C, sent_ms=now_ms))
        await town.until(lambda: "bad" in town.store.ends)
        await asyncio.sleep(1)

        found = values(town)
        assert {name: found["pending", name] for name in ("delayed", "running", "waiting")} == {
            "delayed": 1,
            "running": 1,
            "waiting": 0,
        }
        assert found["total", "dead"] == 1
        assert found["total", "success"] == 0
        assert found[("attempts_failed_total",)] == 2
        assert found[("redeliveries_total",)] == 2, "the second attempt, and the void delivery"
        assert 1 <= found[("oldest_pending_seconds",)] < 1000, "a delayed call is not overdue"
        assert (found[("suspected",)], found[("crashed_total",)], found[("paused_pairs",)]) == (0, 0, 0)

    run(work)


def test_suspects_and_paused_pairs_are_counted() -> None:
    async def work() -> None:
        town = await Town().opened()
        town.behaviour = lambda _: None
        await town.send(A, sent("c1", B), sent("c2", C))
        await town.until(lambda: town.on_their_way == 2)
        town.restart(crashed=True)
        await town.until(lambda: len(town.dispatcher.quarantine) == 2)
        operator = Operating(town.dispatcher, town.store, lambda _: "", town.clock.wall_ms)
        operator.pause(A, B, town.host.shards.shard_of(A))
        found = values(town)
        assert (found[("suspected",)], found[("paused_pairs",)]) == (2, 1)
        operator.resume(A, B)
        assert values(town)[("paused_pairs",)] == 0

    run(work)


def test_a_repeated_delivery_that_had_taken_effect_is_a_duplicate() -> None:
    async def work() -> None:
        town = await Town().opened()
        await town.send(A, sent("c1", B))
        town.store.failures = 1.0
        await town.until(lambda: bool(town.effects))
        town.store.failures = 0.0
        town.restart()
        await town.drained()

        assert len(town.effects) == 1
        assert values(town)[("duplicates_total",)] == 1

    run(work)
