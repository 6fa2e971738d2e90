"""Exits and interrupts raised by application code: they fail one call, and the node keeps serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import pytest
from pydantic import AfterValidator, PlainSerializer

from goverse import Object, call, view
from tests.nodes import bench, code, value

pytestmark = pytest.mark.requirement("OBJ-9")

EXITS: dict[str, Callable[[], BaseException]] = {
    "an exit": lambda: SystemExit(3),
    "an interrupt": KeyboardInterrupt,
    "a closed generator": GeneratorExit,
    "a cancellation": asyncio.CancelledError,
}
_raised: list[Callable[[], BaseException]] = []


@pytest.fixture(autouse=True, params=list(EXITS))
def raised(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> None:
    """Choose the exception that the class below raises."""
    _raised[:] = [EXITS[request.param]]


def _read(number: int) -> int:
    if number == 1:
        raise _raised[0]()
    return number


def _written(number: int) -> int:
    if number == 2:
        raise _raised[0]()
    return number


Number = Annotated[int, AfterValidator(_read), PlainSerializer(_written, return_type=int)]


class Unshowable(Exception):
    def __str__(self) -> str:
        raise _raised[0]()


class Gate(Object):
    number: Number = 0
    plain: int = 0

    @call
    def argument(self, number: Number) -> int:
        return number

    @call
    def result(self, number: int) -> Number:
        return number

    @call
    async def set_number(self, number: int) -> None:
        self.number = number

    @call(raises=(Unshowable,))
    async def unshowable(self) -> None:
        raise Unshowable

    @call
    async def set_plain(self, number: int) -> int:
        self.plain = number
        return number

    @call(readonly=True)
    async def leave(self) -> None:
        raise _raised[0]()

    @view
    def shown(self) -> int:
        if self.plain == 9:
            raise _raised[0]()
        return self.plain


@pytest.mark.parametrize(
    ("method", "number"), [("argument", 1), ("result", 2), ("set_number", 1), ("set_number", 2), ("leave", None)]
)
async def test_they_fail_the_call_wherever_user_code_raises_them(method: str, number: int | None) -> None:
    async with bench(Gate) as b:
        arguments = {} if number is None else {"number": number}
        assert code(await b.call(Gate, "a", method, arguments)) == "method_failed"
        assert value(await b.call(Gate, "a", "set_plain", {"number": 5})) == 5


async def test_they_fail_the_call_whose_error_cannot_be_shown() -> None:
    async with bench(Gate) as b:
        assert code(await b.call(Gate, "a", "unshowable")) == "method_failed"
        assert value(await b.call(Gate, "a", "set_plain", {"number": 5})) == 5


async def test_they_fail_the_read_whose_view_raises_them() -> None:
    async with bench(Gate) as b:
        assert value(await b.call(Gate, "a", "set_plain", {"number": 9})) == 9
        assert code(await b.read(Gate, "a")) == "method_failed"
        assert value(await b.call(Gate, "a", "set_plain", {"number": 5})) == 5
