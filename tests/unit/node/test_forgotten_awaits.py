"""A call that a method makes and does not await has no effect, so the method fails and says so."""

import asyncio
import re
from typing import Any

import pytest

from goverse import MethodFailed, Object, call
from goverse.testing import ObjectHost


class Total(Object):
    value: int = 0

    @call
    async def add(self, by: int = 1) -> int:
        self.value += by
        return self.value


class Forgetful(Object):
    turns: int = 0

    @call
    async def forget(self) -> int:
        self.turns += 1
        self.ref(Total, "t").add(by=1)  # type: ignore[unused-coroutine]
        return self.turns

    @call
    def forget_by_name(self) -> None:
        self.ref("Total", "t").add(by=1)

    @call
    async def leave_to_a_task(self) -> None:
        asyncio.get_running_loop().create_task(self.ref(Total, "t").add(by=1))

    @call
    async def give_up_before_it_starts(self) -> bool:
        task = asyncio.ensure_future(self.ref(Total, "t").add(by=1))
        task.cancel()
        return isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)

    @call
    async def remember(self) -> int:
        later = self.ref(Total, "t").add(by=2)
        await self.ref(Total, "t").add(by=1)
        return await later

    @call
    async def hand_back(self) -> int:
        return self.ref(Total, "t").add(by=1)  # type: ignore[return-value]

    @call
    async def count(self) -> int:
        return len(self.list(Total))

    @call
    async def iterate(self) -> int:
        listing: Any = self.list(Total)
        return sum(1 for _ in listing)


@pytest.mark.parametrize("method", ["forget", "forget_by_name", "leave_to_a_task", "hand_back"])
async def test_a_call_that_is_not_awaited_fails_the_turn(method: str) -> None:
    async with ObjectHost(Total, Forgetful) as host:
        with pytest.raises(MethodFailed, match=rf"Forgetful\.{method} called Total\.add without await"):
            await getattr(host.ref(Forgetful, "f"), method)()

        assert await host.state(Total, "t") is None
        assert await host.state(Forgetful, "f") is None


async def test_a_call_that_is_awaited_later_or_cancelled_is_not_forgotten() -> None:
    async with ObjectHost(Total, Forgetful) as host:
        assert await host.ref(Forgetful, "f").remember() == 3
        assert await host.ref(Forgetful, "f").give_up_before_it_starts()
        assert await host.state(Total, "t") == {"value": 3}


@pytest.mark.parametrize(
    ("method", "said"),
    [("count", r"use len\(await self\.list"), ("iterate", "use async for, or for")],
)
async def test_a_listing_that_is_not_awaited_says_how_to_use_it(method: str, said: str) -> None:
    async with ObjectHost(Total, Forgetful) as host:
        with pytest.raises(MethodFailed) as failed:
            await getattr(host.ref(Forgetful, "f"), method)()

    assert re.search(said, str(failed.value.__cause__))
