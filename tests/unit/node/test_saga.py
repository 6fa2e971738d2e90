"""``self.saga``: a saga starts with the commit of the turn, or not at all."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from goverse import BusinessError, Object, Outcome, call, handler
from goverse.limits import SAGA_STEPS_MAX
from tests.nodes import Bench, bench, code, key_of, problem, until, value

pytestmark = pytest.mark.requirement("DUR-7")


class Declined(BusinessError):
    """The step is declined."""

    status = 409
    code = "declined"


class Log(Object):
    lines: list[str] = []

    @handler
    async def add(self, line: str) -> int:
        if line.startswith("bad"):
            raise Declined
        self.lines.append(line)
        return len(self.lines)


class Order(Object):
    ends: list[str] = []

    @call
    async def start(self, lines: list[str], name: str | None = None, fail: bool = False) -> str:
        log = self.ref(Log, "l")
        async with self.saga(name, then=self.ended) as saga:
            for line in lines:
                saga.step(log.add, line).undo(log.add, f"no {line}")
        if fail:
            raise Declined
        return saga.id

    @handler
    def ended(self, outcome: Outcome[list[int]]) -> None:
        self.ends.append(f"{outcome.state}: {outcome.value if outcome.problem is None else outcome.problem.extra}")

    @call(readonly=True)
    async def reader(self) -> None:
        async with self.saga() as saga:
            saga.step(self.ref(Log, "l").add, "a")

    @call
    async def raises(self) -> str:
        saga = self.saga()
        with suppress(Declined):
            async with saga:
                saga.step(self.ref(Log, "l").add, "a")
                raise Declined
        return saga.id

    @call
    async def misuse(self, how: str) -> None:
        log: Any = self.ref(Log, "l")
        saga = self.saga()
        if how == "outside":
            saga.step(log.add, "a")
        async with saga:
            if how == "twice":
                step = saga.step(log.add, "a")
                step.undo(log.add, "b")
                step.undo(log.add, "c")
            if how == "many":
                for _ in range(SAGA_STEPS_MAX + 1):
                    saga.step(log.add, "a")
            if how == "arguments":
                saga.step(self.ref(Log, "l").add, 7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            if how == "unknown":
                saga.step(self.ref("Log", "l").ad, line="a")


async def _lines(b: Bench) -> list[str]:
    lines: list[str] = value(await b.read(Log, "l"))["lines"]
    return lines


async def _ends(b: Bench, count: int = 1) -> list[str]:
    await until(lambda: not b.node.dispatcher.outboxes.entries)
    ends: list[str] = value(await b.read(Order, "o"))["ends"]
    assert len(ends) == count
    return ends


async def test_a_saga_runs_its_steps_and_gives_the_results() -> None:
    async with bench(Order, Log) as b:
        saga_id = value(await b.call(Order, "o", "start", {"lines": ["a", "b"]}))
        assert saga_id.startswith("@saga/c_")
        assert await _ends(b) == ["success: [1, 2]"]
        assert (await _lines(b), len(b.node.dispatcher.notes)) == (["a", "b"], 0)


async def test_a_saga_undoes_its_steps() -> None:
    async with bench(Order, Log) as b:
        value(await b.call(Order, "o", "start", {"lines": ["a", "b", "bad", "c"]}))
        assert await _ends(b) == ["failed: {'step': 'Log.add', 'state': 'failed'}"]
        assert await _lines(b) == ["a", "b", "no b", "no a"]


async def test_a_turn_or_block_that_fails_starts_nothing() -> None:
    async with bench(Order, Log) as b:
        assert code(await b.call(Order, "o", "start", {"lines": ["a"], "fail": True})) == "declined"
        assert value(await b.call(Order, "o", "raises")) == ""
        assert (len(b.node.dispatcher.notes), len(b.node.dispatcher.outboxes.entries)) == (0, 0)


async def test_a_name_has_one_running_saga() -> None:
    async with bench(Order, Log) as b:
        b.store.hold()
        first = b.call(Order, "o", "start", {"lines": ["a"], "name": "n"})
        queued = b.call(Order, "o", "start", {"lines": ["a"], "name": "n"})
        other = b.call(Order, "o", "start", {"lines": ["b"], "name": "m"})
        await until(lambda: b.store.arrived == 1)
        b.store.release()
        assert [value(await each) for each in (first, other)] == ["@saga/n", "@saga/m"]
        assert code(await queued) == "call_id_mismatch"
        assert len(await _ends(b, 2)) == 2
        assert value(await b.call(Order, "o", "start", {"lines": ["c"], "name": "n"})) == "@saga/n"
        assert (await _ends(b, 3))[2] == "success: [3]"


@pytest.mark.parametrize(
    ("how", "detail"),
    [
        ("outside", "was added to a saga of Order/o outside of its block"),
        ("twice", "Log.add has an undo already"),
        ("many", "more than 100 steps"),
        ("nothing", "a saga of Order/o has no steps"),
        ("arguments", "the arguments do not fit Log.add"),
        ("unknown", "Log exports no method 'ad'"),
    ],
)
async def test_what_is_no_saga_is_refused(how: str, detail: str) -> None:
    async with bench(Order, Log) as b:
        b.node.shows_causes = True
        refused = problem(await b.call(Order, "o", "misuse", {"how": how}))
        assert detail in f"{refused.detail} {refused.cause}"
        assert b.node.dispatcher.notes_of(key_of(Order, "o")) == ()


async def test_a_readonly_method_cannot_start_a_saga() -> None:
    async with bench(Order, Log) as b:
        assert code(await b.call(Order, "o", "reader")) == "readonly_violation"
