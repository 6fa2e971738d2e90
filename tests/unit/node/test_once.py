"""An effect outside of GoVerse is carried out again only if its result was not kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from goverse import BusinessError, Object, call
from goverse.errors import Unavailable
from goverse.limits import KEPT_RESULT_BYTES_MAX, KEPT_RESULTS_MAX
from goverse.model.notes import KEPT_RESULT
from tests.nodes import Bench, Meeting, bench, code, key_of, problem, settle, until, value

pytestmark = pytest.mark.requirement("DUR-7")

PLACE = Meeting()
EFFECTS: list[str] = []


class Declined(BusinessError):
    """The bank declines."""

    code = "declined"


@dataclass
class Charge:
    id: str
    cents: int


def effect(what: str) -> int:
    EFFECTS.append(what)
    return len(EFFECTS)


async def charged(cents: int = 5) -> Charge:
    EFFECTS.append("charge")
    return Charge(f"ch_{len(EFFECTS)}", cents)


async def slow() -> int:
    EFFECTS.append("begun")
    await PLACE.wait("slow")
    return effect("ended")


async def stubborn() -> int:
    await PLACE.wait_stubbornly("stubborn")
    return effect("stubborn")


class Shop(Object, reentrant=True, delete="anyone"):
    paid: str = ""

    @call
    async def pay(self, fail: bool = False) -> str:
        charge = await self.once("charge", charged)
        assert isinstance(charge, Charge)
        PLACE.note("went on")
        self.paid = charge.id
        if fail:
            raise Declined
        return charge.id

    @call
    async def plain(self, name: str = "plain") -> int:
        return await self.once(name, lambda: effect("plain"), returns=int)

    @call
    async def partly(self) -> Charge:
        return await self.once("partly", partial(charged, cents=7))

    @call
    async def again(self) -> int:
        return await self.once("again", slow)

    @call(timeout_s=0.2)
    async def cancelled(self) -> int:
        return await self.once("cancelled", stubborn)

    @call
    async def repeated(self) -> int:
        return await self.once("cancelled", stubborn)

    @call
    async def at_once(self) -> list[int]:
        return list(await asyncio.gather(*(self.once("both", partial(effect, "both")) for _ in range(3))))

    @call
    async def raises_first(self) -> int:
        def work() -> int:
            if effect("raises") == 1:
                raise Declined
            return 7

        return await self.once("raises", work)

    @call
    async def mismatch(self) -> str:
        return await self.once("plain", lambda: "text", returns=str)

    @call
    async def as_bool(self) -> bool:
        return await self.once("plain", lambda: True, returns=bool)

    @call
    async def as_float(self) -> float | None:
        async def never() -> float | None:
            raise AssertionError

        return await self.once("plain", never)

    @call
    async def large(self) -> str:
        return await self.once("large", lambda: effect("large") * "x" * KEPT_RESULT_BYTES_MAX, returns=str)

    @call
    async def wrong(self) -> int:
        made: Any = effect("wrong") and "text"
        return await self.once("wrong", lambda: made, returns=int)

    @call
    async def untyped(self) -> None:
        await self.once("untyped", lambda: effect("untyped"))

    @call
    async def unnamed(self, name: str) -> None:
        await self.once(name, lambda: effect("unnamed"), returns=int)

    @call
    async def of_itself(self) -> int:
        async def inner() -> int:
            return await self.once("itself", inner)

        return await self.once("itself", inner)

    @call(readonly=True)
    async def reader(self) -> int:
        return await self.once("reader", lambda: effect("reader"), returns=int)

    @call
    async def forgetful(self, fail: bool = False) -> list[bool]:
        found = [self.forget_once("plain"), self.forget_once("plain")]
        if fail:
            raise Declined
        return found

    @call
    async def replaced(self) -> int:
        self.forget_once("plain")
        return await self.once("plain", lambda: effect("replacement"), returns=int)

    @call
    async def unawaited(self) -> None:
        self.once("unawaited", lambda: effect("unawaited"), returns=int)  # type: ignore[unused-coroutine]

    @call
    async def many(self) -> int:
        for number in range(KEPT_RESULTS_MAX):
            await self.once(f"n{number}", lambda: 0, returns=int)
        return await self.once("one too many", lambda: effect("one too many"), returns=int)

    @call
    def pending(self) -> int:
        return len(self.outbox)


@pytest.fixture(autouse=True)
def _no_effects() -> None:
    EFFECTS.clear()
    PLACE.happened.clear()


@asynccontextmanager
async def shop(**options: Any) -> AsyncGenerator[Bench]:
    async with bench(Shop, **options) as b:
        yield b


def kept(b: Bench) -> list[str]:
    return [note.call.id for note in b.node.dispatcher.notes_of(key_of(Shop, "s"))]


async def test_a_call_that_fails_after_the_effect_keeps_the_result() -> None:
    async with shop() as b:
        assert code(await b.call(Shop, "s", "pay", {"fail": True})) == "declined"
        assert kept(b) == ["@once/charge"]
        assert value(await b.call(Shop, "s", "pay")) == "ch_1"
        assert EFFECTS == ["charge"]


async def test_a_result_survives_a_restart() -> None:
    async with shop() as b:
        assert code(await b.call(Shop, "s", "pay", {"fail": True})) == "declined"
        await b.restart()
        assert value(await b.call(Shop, "s", "pay")) == "ch_1"
        assert value(await b.call(Shop, "t", "pay")) == "ch_2"


async def test_the_method_goes_on_when_the_result_is_durable() -> None:
    async with shop() as b:
        b.store.hold()
        paid = b.call(Shop, "s", "pay")
        await until(lambda: b.store.arrived == 1)
        await settle()
        assert (EFFECTS, PLACE.happened) == (["charge"], [])
        b.store.release()
        assert value(await paid) == "ch_1"
        notes = [record.effects.sends for _, record in b.store.durable if record.effects is not None]
        assert [[(sent.method, sent.body) for sent in sends] for sends in notes] == [
            [(KEPT_RESULT, b'{"type":"Charge","value":{"id":"ch_1","cents":5}}')]
        ]


async def test_an_effect_whose_record_failed_is_carried_out_again() -> None:
    async with shop() as b:
        b.store.fail(Unavailable("the store does not answer"))
        assert code(await b.call(Shop, "s", "pay")) == "unavailable"
        assert value(await b.call(Shop, "s", "pay")) == "ch_2"


async def test_plain_functions_partials_and_annotations_give_the_type() -> None:
    async with shop() as b:
        assert [value(await b.call(Shop, "s", "plain")) for _ in range(2)] == [1, 1]
        assert [value(await b.call(Shop, "s", "partly"))["cents"] for _ in range(2)] == [7, 7]
        assert EFFECTS == ["plain", "charge"]


async def test_tasks_of_a_turn_carry_out_an_effect_once() -> None:
    async with shop() as b:
        assert value(await b.call(Shop, "s", "at_once")) == [1, 1, 1]


async def test_a_repetition_waits_for_an_effect_that_outlives_its_turn() -> None:
    async with shop(cancel_grace_s=0.01) as b:
        first = b.call(Shop, "s", "cancelled")
        assert code(await first) == "timeout"
        second = b.call(Shop, "s", "repeated")
        await until(lambda: "swallowed" in PLACE.happened)
        await settle()
        PLACE.let_go("stubborn")
        assert value(await second) == 1
        assert EFFECTS == ["stubborn"]


async def test_a_repetition_waits_for_a_result_whose_record_is_queued() -> None:
    async with shop() as b:
        b.store.hold()
        first = b.call(Shop, "s", "plain", timeout_s=0.2)
        await until(lambda: b.store.arrived == 1)
        assert code(await first) == "timeout"
        second = b.call(Shop, "s", "plain")
        await settle()
        b.store.release()
        assert value(await second) == 1
        assert EFFECTS == ["plain"]


async def test_an_effect_that_was_cancelled_is_carried_out_again() -> None:
    async with shop() as b:
        first = b.call(Shop, "s", "again", timeout_s=0.2)
        await PLACE.reached("slow")
        assert code(await first) == "timeout"
        second = b.call(Shop, "s", "again")
        await PLACE.reached("slow", 2)
        PLACE.let_go("slow")
        assert value(await second) == 3
        assert EFFECTS == ["begun", "begun", "ended"]


async def test_an_exception_is_raised_and_keeps_nothing() -> None:
    async with shop() as b:
        assert code(await b.call(Shop, "s", "raises_first")) == "declined"
        assert kept(b) == []
        assert [value(await b.call(Shop, "s", "raises_first")) for _ in range(2)] == [7, 7]
        assert EFFECTS == ["raises", "raises"]


async def test_a_name_with_a_result_of_another_type_is_refused() -> None:
    async with shop() as b:
        assert value(await b.call(Shop, "s", "plain")) == 1
        for method, expected in (("mismatch", "str"), ("as_bool", "bool")):
            refused = problem(await b.call(Shop, "s", method))
            assert refused.code == "kept_result_mismatch"
            assert f"expects {expected}, but the result that is kept under this name is int" in refused.detail


async def test_a_result_can_be_read_as_a_type_that_holds_it_unchanged() -> None:
    async with shop() as b:
        EFFECTS.append("")
        assert value(await b.call(Shop, "s", "plain")) == 2
        refused = await b.call(Shop, "s", "as_float")
        assert code(refused) == "kept_result_mismatch"


@pytest.mark.parametrize(
    ("method", "expected", "detail"),
    [
        ("large", "too_large", "was carried out, but its result has 65538 bytes and is not kept"),
        ("wrong", "method_failed", "returned a value that is not of its declared type"),
        ("untyped", "method_failed", ""),
        ("of_itself", "deadlock", "waits for itself"),
        ("reader", "readonly_violation", "is readonly and cannot carry out an effect once"),
        ("unawaited", "method_failed", "self.once('unawaited') without await"),
    ],
)
async def test_what_cannot_be_kept_is_refused(method: str, expected: str, detail: str) -> None:
    async with shop() as b:
        refused = problem(await b.call(Shop, "s", method))
        assert refused.code == expected
        assert detail in refused.detail
        assert kept(b) == []
        assert [each for each in EFFECTS if each not in ("large", "wrong")] == []


async def test_an_object_keeps_a_bounded_number_of_results() -> None:
    async with shop() as b:
        refused = problem(await b.call(Shop, "s", "many"))
        assert refused.code == "method_failed"
        assert f"keeps {KEPT_RESULTS_MAX} results" in refused.detail
        assert (len(kept(b)), EFFECTS) == (KEPT_RESULTS_MAX, [])
        assert value(await b.call(Shop, "s", "plain", {"name": "n7"})) == 0


async def test_a_forgotten_result_is_made_again() -> None:
    async with shop() as b:
        assert value(await b.call(Shop, "s", "plain")) == 1
        assert code(await b.call(Shop, "s", "forgetful", {"fail": True})) == "declined"
        assert value(await b.call(Shop, "s", "plain")) == 1
        assert value(await b.call(Shop, "s", "forgetful")) == [True, False]
        assert kept(b) == []
        assert value(await b.call(Shop, "s", "plain")) == 2


async def test_a_result_that_the_same_turn_has_forgotten_is_replaced() -> None:
    async with shop() as b:
        assert value(await b.call(Shop, "s", "plain")) == 1
        assert value(await b.call(Shop, "s", "replaced")) == 2
        await b.restart()
        assert value(await b.call(Shop, "s", "plain")) == 2


async def test_the_deletion_of_the_object_removes_its_results() -> None:
    async with shop() as b:
        assert value(await b.call(Shop, "s", "pay")) == "ch_1"
        assert value(await b.call(Shop, "t", "pay")) == "ch_2"
        assert code(await b.delete(Shop, "s")) == ""
        assert kept(b) == []
        await b.restart()
        assert value(await b.call(Shop, "s", "pay")) == "ch_3"
        assert value(await b.call(Shop, "t", "pay")) == "ch_2"


async def test_a_result_is_no_pending_call_of_the_outbox() -> None:
    async with shop() as b:
        assert value(await b.call(Shop, "s", "plain")) == 1
        assert value(await b.call(Shop, "s", "pending")) == 0
        assert len(b.node.dispatcher.outboxes.entries) == 0
        assert len(b.node.dispatcher.notes) == 1


async def _typed(shop: Shop, make: Callable[[], Awaitable[Charge]]) -> tuple[int, Charge, str]:
    """The result has the type of the function, or the one that is given; both type checkers read this."""
    number: int = await shop.once("a", lambda: 1, returns=int)
    charge: Charge = await shop.once("b", make)
    text: str = await shop.once("c", str)
    wrong: str = await shop.once("d", make)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    del wrong
    return number, charge, text
