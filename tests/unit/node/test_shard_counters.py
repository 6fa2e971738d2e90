"""Counters per shard: they only grow, every reader sees all growth, and turn time is the time that methods run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from goverse import Object, call
from goverse.model.keys import ObjectKey
from goverse_node.node import Node
from goverse_node.runtime import scope, shard_counters, turn
from goverse_node.runtime.shard_counters import ShardCounts, ShardReader
from goverse_node.shard_access import AllShards
from tests.nodes import Bench, Meeting, bench, code, until

pytestmark = [pytest.mark.requirement("CLU-4"), pytest.mark.asyncio]

PLACE = Meeting()


class Clock:
    """A clock that only methods and tests advance."""

    s = 0.0

    def __call__(self) -> float:
        return self.s


CLOCK = Clock()


class Numbered(AllShards):
    """Access to all shards; the shard is the number that an id begins with."""

    def shard_of(self, key: ObjectKey) -> int:
        return int(key.id.partition("/")[0])


class Worker(Object):
    text: str = ""

    @call
    def work(self, ms: int) -> None:
        CLOCK.s += ms / 1000

    @call
    def fail(self) -> None:
        CLOCK.s += 0.004
        raise RuntimeError

    @call
    async def work_at_once(self) -> None:
        CLOCK.s += 0.008

    @call
    async def work_twice(self) -> None:
        CLOCK.s += 0.016
        await PLACE.wait("work")
        CLOCK.s += 0.032

    @call(readonly=True)
    async def look_twice(self) -> None:
        CLOCK.s += 0.064
        await PLACE.wait("look")
        CLOCK.s += 0.128

    @call
    async def break_down(self) -> None:
        await PLACE.wait("break")
        CLOCK.s += 0.256
        raise RuntimeError

    @call
    async def ask(self, other: str) -> None:
        CLOCK.s += 0.001
        target: Any = self.ref(Worker, other)  # a plain method, which runs within this step
        await target.work(2)
        CLOCK.s += 0.004

    @call
    async def ask_all(self, others: list[str]) -> None:
        CLOCK.s += 0.001
        targets: list[Any] = [self.ref(Worker, other) for other in others]
        await asyncio.gather(*(target.work(2) for target in targets))
        CLOCK.s += 0.004

    @call
    async def write(self, text: str) -> None:
        self.text = text


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scope, shard_counters, turn):
        monkeypatch.setattr(module, "perf_counter", CLOCK)


@asynccontextmanager
async def working() -> AsyncGenerator[Bench]:
    async with bench(Worker) as b:
        b.node.shard_access = Numbered()
        yield b


def turn_ms(node: Node, shard: int) -> float:
    return node.shard_counters.now()[shard].turn_us / 1000


async def test_every_reader_sees_all_growth_once() -> None:
    async with working() as b:
        await b.call(Worker, "1/a", "work", {"ms": 1})
        first = ShardReader(b.node.shard_counters)
        for object_id in ("1/a", "1/b", "2/a"):
            await b.call(Worker, object_id, "work", {"ms": 2})
        assert {shard: counts[:2] for shard, counts in first.read().items()} == {1: (2, 4000), 2: (1, 2000)}
        second = ShardReader(b.node.shard_counters)
        await b.call(Worker, "2/a", "work", {"ms": 3})
        assert first.read() == second.read() == {2: ShardCounts(1, 3000, 0)}
        assert first.read() == second.read() == {}
        whole = b.node.shard_counters.now()
        assert (whole[1].calls, whole[1].turn_us, whole[2].calls, whole[2].turn_us) == (3, 5000, 2, 5000)


async def test_turn_time_is_that_of_all_methods_whatever_their_kind_and_end() -> None:
    async with working() as b:
        await b.call(Worker, "1/a", "work", {"ms": 2})
        assert code(await b.call(Worker, "1/a", "fail")) == "method_failed"
        await b.call(Worker, "1/a", "work_at_once")
        assert turn_ms(b.node, 1) == pytest.approx(2 + 4 + 8)


@pytest.mark.parametrize(
    ("method", "place", "before", "after"),
    [("work_twice", "work", 16, 48), ("look_twice", "look", 64, 192), ("break_down", "break", 0, 256)],
)
async def test_time_in_which_a_method_waits_does_not_count(method: str, place: str, before: int, after: int) -> None:
    async with working() as b:
        running = b.call(Worker, "1/a", method)
        await PLACE.reached(place)
        CLOCK.s += 1000
        await b.call(Worker, "2/a", "work", {"ms": 1})
        assert turn_ms(b.node, 1) == pytest.approx(before)
        PLACE.let_go(place)
        await running
        assert turn_ms(b.node, 1) == pytest.approx(after)
        assert turn_ms(b.node, 2) == pytest.approx(1)


async def test_a_turn_within_a_step_of_another_one_counts_for_its_own_shard() -> None:
    async with working() as b:
        await b.call(Worker, "2/a", "work", {"ms": 8})
        await b.call(Worker, "1/a", "ask", {"other": "2/a"})
        assert turn_ms(b.node, 1) == pytest.approx(1 + 4)
        assert turn_ms(b.node, 2) == pytest.approx(8 + 2)


async def test_calls_of_tasks_that_a_method_starts_take_nothing_from_its_turn_time() -> None:
    async with working() as b:
        await b.call(Worker, "1/a", "ask_all", {"others": ["2/a", "2/b", "3/a"]})
        assert [turn_ms(b.node, shard) for shard in (1, 2, 3)] == pytest.approx([1 + 4, 2 + 2, 2])


async def test_a_waiting_call_counts_for_itself_only() -> None:
    async with working() as b:
        running = b.call(Worker, "1/a", "work_twice")
        await PLACE.reached("work")
        waiting = [b.call(Worker, "1/a", "work", {"ms": 1}) for _ in range(3)]
        PLACE.let_go("work")
        await running
        for each in waiting:
            await each
        assert turn_ms(b.node, 1) == pytest.approx(16 + 32 + 3)
        assert b.node.shard_counters.now()[1].calls == 4


async def test_bytes_are_counted_when_a_commit_is_durable() -> None:
    async with working() as b:
        await b.call(Worker, "1/a", "work", {"ms": 1})
        before = b.node.shard_counters.now()[1].committed_bytes
        await b.call(Worker, "1/a", "write", {"text": "x" * 10_000})
        once = b.node.shard_counters.now()[1].committed_bytes - before
        assert 10_000 < once < 10_500
        await b.read(Worker, "1/a")
        await b.call(Worker, "1/a", "work", {"ms": 1})
        assert b.node.shard_counters.now()[1].committed_bytes - before == once
        b.store.hold()
        arrived = b.store.arrived
        pending = b.call(Worker, "1/a", "write", {"text": "y" * 10_000})
        await until(lambda: b.store.arrived > arrived)
        assert b.node.shard_counters.now()[1].committed_bytes - before == once
        b.store.release()
        await pending
        assert b.node.shard_counters.now()[1].committed_bytes - before == 2 * once
