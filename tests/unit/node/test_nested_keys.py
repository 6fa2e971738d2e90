"""Idempotency keys of nested calls: unique across all turns of a call, and the same in every attempt."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from goverse import Object, call
from goverse.model.records import CommitRecord
from goverse.ports.store import CommitOutcome
from tests.gated_store import GatedStore
from tests.nodes import Bench, bench, code, problem, value

ATTEMPTS: list[int] = []
"""One number for each time that a method of ``Caller`` ran."""


class Tally(Object):
    """Sums the numbers that it receives."""

    total: int = 0
    calls: int = 0

    @call
    async def add(self, by: int = 1) -> int:
        self.total += by
        self.calls += 1
        return self.total

    @call(readonly=True)
    async def look(self) -> list[int]:
        return [self.calls, self.total]


class Caller(Object, delete="anyone"):
    """Calls the same method of one tally in its hooks and in its methods."""

    done: int = 0

    async def on_create(self) -> None:
        await self.ref(Tally, "t").add(by=100)

    async def on_activate(self) -> None:
        await self.ref(Tally, "t").add(by=10)

    async def on_delete(self) -> None:
        await self.ref(Tally, "t").add(by=1000)

    @call
    async def work(self, fails: bool = False) -> int:
        ATTEMPTS.append(len(ATTEMPTS))
        await self.ref(Tally, "t").add(by=1)
        if fails and len(ATTEMPTS) == 1:
            raise ValueError("the first attempt")
        self.done += 1
        return self.done

    @call
    async def work_at_once(self, fails: bool = False) -> int:
        """Add 1 and 2 in concurrent tasks; the second attempt runs them in the other order."""
        ATTEMPTS.append(len(ATTEMPTS))
        first, second = asyncio.Event(), asyncio.Event()
        (first if len(ATTEMPTS) == 1 else second).set()

        async def one() -> None:
            await first.wait()
            await self.ref(Tally, "t").add(by=1)
            second.set()

        async def two() -> None:
            await second.wait()
            if len(ATTEMPTS) == 1 and fails:
                raise ValueError("the first attempt ends half way")
            await self.ref(Tally, "t").add(by=2)
            first.set()

        await asyncio.gather(one(), two())
        self.done += 1
        return self.done

    @call(timeout_s=0.05)
    async def stall(self, calls: bool) -> None:
        if calls:
            await self.ref(Tally, "t").add(by=1)
        await asyncio.Event().wait()

    @call
    async def work_by_chance(self) -> int:
        """Pass another argument in each attempt."""
        ATTEMPTS.append(len(ATTEMPTS))
        await self.ref(Tally, "t").add(by=len(ATTEMPTS))
        if len(ATTEMPTS) == 1:
            raise ValueError("the first attempt")
        return 0


class Refusing(GatedStore):
    """Refuses the next ``refusals`` commits of callers."""

    refusals = 0

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        if self.refusals and any(_is_caller(record) for record in batch):
            self.refusals -= 1
            self.refuse(_is_caller)
        return await super().commit(batch)


def _is_caller(record: CommitRecord) -> bool:
    return record.key.type == "Caller"


@pytest.fixture(autouse=True)
def no_attempts() -> None:
    ATTEMPTS.clear()


async def _tally(b: Bench) -> list[int]:
    found: list[int] = value(await b.call(Tally, "t", "look"))
    return found


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("further", [{"idempotency_key": "k"}, {"idempotency_key": "gv-a-1", "fresh_key": True}])
async def test_hooks_and_method_of_one_call_each_have_their_effect(further: dict[str, Any]) -> None:
    async with bench(Tally, Caller) as b:
        assert value(await b.call(Caller, "c", "work", **further)) == 1

        assert await _tally(b) == [3, 111]


@pytest.mark.requirement("DUR-2")
async def test_a_repetition_that_runs_no_hook_derives_the_same_keys_for_its_method() -> None:
    async with bench(Tally, Caller) as b:
        failed = await b.call(Caller, "c", "work", {"fails": True}, idempotency_key="k")
        assert code(failed) == "method_failed"

        assert value(await b.call(Caller, "c", "work", {"fails": True}, idempotency_key="k")) == 1
        assert await _tally(b) == [3, 111]


@pytest.mark.requirement("DUR-2")
async def test_a_repetition_that_runs_the_hooks_again_repeats_no_effect_of_them() -> None:
    async with bench(Tally, Caller) as b:
        first = await b.call(Caller, "c", "work", {"fails": True}, idempotency_key="k")
        await b.passivate()

        assert code(first) == "method_failed"
        assert value(await b.call(Caller, "c", "work", {"fails": True}, idempotency_key="k")) == 1
        assert await _tally(b) == [3, 111]


@pytest.mark.requirement("DUR-2")
async def test_a_call_that_begins_again_after_its_hook_repeats_no_effect_of_the_hook() -> None:
    store = Refusing()
    async with bench(Tally, Caller, store=store) as b:
        store.refusals = 1

        reply = await b.call(Caller, "c", "work", idempotency_key="gv-a-1", fresh_key=True)
        again = await b.call(Caller, "c", "work", idempotency_key="gv-a-1", attempt=1)

        assert (store.refusals, code(reply)) == (0, "unavailable")
        assert value(again) == 1
        assert await _tally(b) == [3, 111]


@pytest.mark.requirement("DUR-2")
async def test_concurrent_nested_calls_that_change_their_order_have_one_effect_each() -> None:
    store = Refusing()
    async with bench(Tally, Caller, store=store) as b:
        await b.call(Caller, "c", "work")
        before, store.refusals = await _tally(b), 1
        ATTEMPTS.clear()

        first = await b.call(Caller, "c", "work_at_once", idempotency_key="k")
        again = await b.call(Caller, "c", "work_at_once", idempotency_key="k")

        assert (code(first), code(again), len(ATTEMPTS)) == ("unavailable", "", 2)
        after = await _tally(b)
        # The object was loaded again, so on_activate ran for the second attempt.
        assert [after[0] - before[0], after[1] - before[1]] == [3, 1 + 2 + 10]


@pytest.mark.requirement("DUR-2")
async def test_concurrent_nested_calls_of_which_one_was_made_are_completed_by_the_repetition() -> None:
    async with bench(Tally, Caller) as b:
        await b.call(Caller, "c", "work")
        before = await _tally(b)
        ATTEMPTS.clear()

        first = await b.call(Caller, "c", "work_at_once", {"fails": True}, idempotency_key="k")
        again = await b.call(Caller, "c", "work_at_once", {"fails": True}, idempotency_key="k")

        assert (code(first), code(again), len(ATTEMPTS)) == ("method_failed", "", 2)
        after = await _tally(b)
        assert [after[0] - before[0], after[1] - before[1]] == [2, 1 + 2]


@pytest.mark.requirement("DUR-2")
async def test_a_repetition_with_another_argument_is_refused_and_has_no_second_effect() -> None:
    async with bench(Tally, Caller) as b:
        await b.call(Caller, "c", "work_by_chance", idempotency_key="k")
        before = await _tally(b)

        assert code(await b.call(Caller, "c", "work_by_chance", idempotency_key="k")) == "method_failed"
        assert await _tally(b) == before


@pytest.mark.requirement("DUR-2")
async def test_a_delete_that_is_repeated_has_its_nested_effect_once() -> None:
    store = Refusing()
    async with bench(Tally, Caller, store=store) as b:
        await b.call(Caller, "c", "work")
        before, store.refusals = await _tally(b), 1

        first = await b.delete(Caller, "c", idempotency_key="k")
        again = await b.delete(Caller, "c", idempotency_key="k")

        assert (code(first), code(again)) == ("unavailable", "")
        after = await _tally(b)
        assert after[1] - before[1] == 1000


@pytest.mark.parametrize(
    ("calls", "fate"),
    [(True, "calls that it made to other objects may have taken effect"), (False, "nothing of it took")],
)
async def test_a_call_that_times_out_says_what_of_it_may_have_taken_effect(calls: bool, fate: str) -> None:
    async with bench(Tally, Caller) as b:
        await b.call(Caller, "c", "work")

        late = problem(await b.call(Caller, "c", "stall", {"calls": calls}))

        assert late.code == "timeout"
        assert fate in late.detail
