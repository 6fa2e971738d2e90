"""Application code that fails while an object is loaded: calls and reads are answered, and the node keeps serving."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, Field

from goverse import Object, call, migration
from goverse.model.records import CommitRecord
from goverse_node.runtime.instance import Instance
from tests.nodes import Bench, bench, code, key_of, problem, value

pytestmark = pytest.mark.requirement("OBJ-9", "OBJ-11")

DEPTH = 100_000
BROKEN: dict[str, Callable[[], Any]] = {}


class Unshowable(ValueError):
    def __str__(self) -> str:
        raise SystemExit(4)


def _raised(error: BaseException) -> Any:
    raise error


def _nested() -> Any:
    value: Any = 1
    for _ in range(DEPTH):
        value = [value]
    return value


FAILURES: dict[str, Callable[[], Any]] = {
    "nested": _nested,
    "exit": lambda: _raised(SystemExit(3)),
    "interrupt": lambda: _raised(KeyboardInterrupt()),
    "cancellation": lambda: _raised(asyncio.CancelledError()),
    "recursion": lambda: _raised(RecursionError()),
    "unshowable": lambda: _raised(Unshowable()),
}


def _at(place: str) -> Any:
    failure = BROKEN.get(place)
    return None if failure is None else failure()


def _checked(number: int) -> int:
    _at("validator")
    return number


def _made() -> int:
    _at("factory")
    return 1


class Ledger(Object, state_version=2, create="anyone", delete="anyone"):
    data: Any = None
    number: Annotated[int, AfterValidator(_checked)] = 0
    made: int = Field(default_factory=_made)
    _cache: int = Field(default_factory=lambda: _at("transient") or 1)

    @migration(from_version=1)
    @staticmethod
    def _migrated(state: dict[str, Any]) -> dict[str, Any]:
        return state | {"data": _at("migration")}

    @call
    def add(self) -> int:
        self.number += 1
        return self.number


async def _stored(b: Bench) -> None:
    await b.store.commit([CommitRecord(key_of(Ledger, "a"), 0, 1, b'{"data":null,"number":1}', 1, 0)])


@pytest.fixture(autouse=True)
def whole() -> None:
    BROKEN.clear()


@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize(
    ("place", "failure"),
    [
        *(("migration", failure) for failure in FAILURES),
        *(("validator", failure) for failure in FAILURES if failure != "nested"),
        ("factory", "exit"),
        ("transient", "exit"),
    ],
)
async def test_a_failure_at_the_load_answers_calls_and_reads(place: str, failure: str, late: bool) -> None:
    async with bench(Ledger) as b:
        await _stored(b)
        b.store.deferring = late
        BROKEN[place] = FAILURES[failure]
        # an activation also needs the defaults of an object that is not stored
        called = "state_invalid" if place in ("migration", "validator") else "method_failed"
        assert code(await b.finish(b.call(Ledger, "a", "add"))) == called
        assert code(await b.finish(b.call(Ledger, "a", "add"))) == called
        read = "method_failed" if place == "transient" else "state_invalid"
        assert code(await b.finish(b.read(Ledger, "a"))) == read
        BROKEN.clear()
        assert value(await b.finish(b.call(Ledger, "a", "add"))) == 2


@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
async def test_a_load_that_fails_in_the_node_answers_calls_and_reads(
    late: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(Ledger) as b:
        await _stored(b)
        b.store.deferring = late
        with monkeypatch.context() as broken:
            broken.setattr(Instance, "_note_names", lambda *_: _raised(SystemExit(3)))
            refused = problem(await b.finish(b.call(Ledger, "a", "add")))
            assert (refused.code, refused.retryable) == ("method_failed", False)
            assert refused.detail == "Ledger/a could not be loaded; the node's log has the cause"
            read = problem(await b.finish(b.read(Ledger, "a")))
            assert (read.code, read.detail) == (
                "method_failed",
                "Ledger/a could not be read; the node's log has the cause",
            )
        traced = [record for record in caplog.records if record.exc_info is not None]
        assert len(traced) == 2
        assert not b.resident(Ledger, "a")
        assert value(await b.finish(b.call(Ledger, "a", "add"))) == 2


async def test_a_turn_that_cannot_start_is_answered_and_the_next_one_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with bench(Ledger) as b:
        with monkeypatch.context() as broken:
            broken.setattr("goverse_node.runtime.activation.hook_before_call", lambda _: _raised(SystemExit(3)))
            refused = problem(await b.call(Ledger, "b", "add"))
            assert (refused.code, refused.detail) == (
                "method_failed",
                "the call could not start; the node's log has the cause",
            )
        assert value(await b.call(Ledger, "b", "add")) == 1
