"""Plain functions that return an awaitable: a decorator does not change the kind of a method."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from goverse import Object, call
from tests.nodes import Meeting, bench, code, until, value

PLACE = Meeting()


def plain_wrapper(method: Callable[..., Any]) -> Any:
    """A decorator, for example for timing, that was written for plain functions."""

    @functools.wraps(method)
    def wrapper(*given: Any, **named: Any) -> Any:
        return method(*given, **named)

    return wrapper


class Later:
    """An awaitable that is not a coroutine."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        return self._value


class Wrapped(Object):
    total: int = 0

    @plain_wrapper
    async def on_activate(self) -> None:
        await asyncio.sleep(0)
        PLACE.note("activated")

    @call
    @plain_wrapper
    async def add(self, by: int) -> int:
        await asyncio.sleep(0)
        self.total += by
        return self.total

    @call(readonly=True)
    @plain_wrapper
    async def touch(self) -> int:
        await asyncio.sleep(0)
        self.total += 1
        return self.total

    @call(readonly=True)
    @plain_wrapper
    async def look(self) -> int:
        await PLACE.wait("looking")
        return self.total

    @call(timeout_s=0.05)
    @plain_wrapper
    async def hang(self) -> int:
        self.total += 1
        await PLACE.wait("hanging")
        return self.total

    @call
    def future(self) -> Any:
        return asyncio.ensure_future(asyncio.sleep(0, 7))

    @call
    def other(self) -> Any:
        self.total += 1
        return Later(8)

    @call(reentrant=True)
    @plain_wrapper
    async def come_back(self) -> int:
        added: int = await self.ref(WrappedHelper, "h").add(target=self.id)
        return added + 1


class WrappedHelper(Object):
    @call
    @plain_wrapper
    async def add(self, target: str) -> int:
        back: Awaitable[int] = self.ref("Wrapped", target).add(by=5)
        return await back


@pytest.mark.requirement("OBJ-1", "OBJ-2")
async def test_a_method_whose_decorator_is_plain_is_awaited(meeting: Meeting) -> None:
    async with bench(Wrapped, WrappedHelper) as b:
        assert value(await b.call(Wrapped, "w", "add", {"by": 2})) == 2
        assert meeting.happened == ["activated"]
        assert value(await b.call(Wrapped, "w", "future")) == 7
        assert value(await b.call(Wrapped, "w", "other")) == 8
        assert value(await b.call(Wrapped, "w", "come_back")) == 9
        assert code(await b.call(Wrapped, "w", "touch")) == "method_failed"
        assert code(await b.call(Wrapped, "w", "hang")) == "timeout"
        assert value(await b.call(Wrapped, "w", "add", {"by": 1})) == 9


@pytest.mark.requirement("OBJ-2")
async def test_readonly_methods_whose_decorator_is_plain_run_beside_each_other(meeting: Meeting) -> None:
    async with bench(Wrapped) as b:
        calls = [b.call(Wrapped, "w", "look") for _ in range(3)]
        await meeting.reached("looking", 3)
        assert code(await b.call(Wrapped, "w", "touch")) == "method_failed"
        meeting.let_go("looking")
        assert [value(await each) for each in calls] == [0, 0, 0]
        await until(lambda: b.at_rest)
