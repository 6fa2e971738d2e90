"""Object types that misbehave in every way a method can."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Annotated, Any, ClassVar

from pydantic import Field

from goverse import BusinessError, Deadlock, Object, call


class TooPoor(BusinessError):
    """There is not enough."""

    status = 402
    code = "too_poor"


class Counter(Object):
    """A number, and every way to fail while changing it."""

    value: Annotated[int, Field(ge=0)] = 0
    words: list[str] = []
    _gate: ClassVar[asyncio.Event]

    @call
    def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @call
    async def add_slowly(self, by: int = 1, naps: int = 1) -> int:
        self.value += by
        for _ in range(naps):
            await asyncio.sleep(0)
        return self.value

    @call
    async def add_at_gate(self, by: int = 1) -> int:
        self.value += by
        await type(self)._gate.wait()
        return self.value

    @call(readonly=True)
    def get(self) -> int:
        return self.value

    @call(readonly=True)
    async def get_at_gate(self) -> int:
        await type(self)._gate.wait()
        return self.value

    @call(readonly=True)
    def get_and_change(self) -> int:
        self.words.append("changed")
        return self.value

    @call(readonly=True)
    async def change_then_wait(self) -> int:
        self.value += 1
        await asyncio.sleep(0.01)
        return self.value

    @call(raises=(TooPoor,))
    async def spend(self, amount: int) -> int:
        self.value -= amount
        if self.value < 0:
            raise TooPoor(f"{amount} is too much", have=self.value + amount)
        return self.value

    @call
    async def fail(self, by: int = 5, kind: str = "ValueError") -> int:
        self.value += by
        self.words.append("failed")
        await asyncio.sleep(0)
        raise _kinds()[kind]

    @call
    def fail_at_once(self, kind: str = "ValueError") -> int:
        self.value += 5
        raise _kinds()[kind]

    @call(raises=(KeyError,))
    def fail_in_public(self) -> int:
        raise KeyError("the name is known")

    @call
    def recurse(self) -> int:
        return self.recurse()

    @call
    def lie(self) -> int:
        self.value += 5
        return "no number"  # type: ignore[return-value]

    @call
    def spoil(self) -> None:
        self.value = "no number"  # type: ignore[assignment]

    @call
    def go_below_zero(self) -> None:
        self.value = -1

    @call
    def grow(self, size: int) -> None:
        self.words.append("x" * size)

    @call
    def shout(self, size: int) -> str:
        return "x" * size

    @call
    def set_undeclared(self) -> None:
        self.total = 5

    @call
    def lose_field(self) -> None:
        self.value += 1
        del self.words

    @call
    async def never(self) -> None:
        self.value += 5
        await asyncio.Event().wait()

    @call(timeout_s=0.1)
    async def never_by_declaration(self) -> None:
        await asyncio.Event().wait()

    @call
    async def stubborn(self) -> None:
        self.value += 5
        while not type(self)._gate.is_set():
            try:
                await type(self)._gate.wait()
            except asyncio.CancelledError:
                continue

    @call
    async def swallow_and_return(self) -> int:
        self.value += 5
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return self.value


def _kinds() -> dict[str, BaseException]:
    return {
        "ValueError": ValueError("private"),
        "SystemExit": SystemExit(3),
        "CancelledError": asyncio.CancelledError(),
        "MemoryError": MemoryError(),
        "RecursionError": RecursionError(),
        "KeyError": KeyError(sys.platform),
    }


class Knot(Object, reentrant=True):
    """Calls others, and lets itself be called back."""

    value: int = 0
    seen: list[str] = []

    @call
    def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @call(readonly=True)
    async def get(self) -> int:
        return self.value

    @call
    async def walk(self, path: list[str], method: str = "add") -> int:
        """Go along ``path``; at its end call ``method``."""
        result: int = await _next(self, path, method)
        return result

    @call
    async def walk_then_add(self, path: list[str], method: str = "add", by: int = 1) -> int:
        await _next(self, path, method)
        self.value += by
        return self.value

    @call
    async def add_then_walk(self, path: list[str], method: str = "add") -> int:
        self.value += 1
        await _next(self, path, method)
        return self.value

    @call
    async def walk_then_fail(self, path: list[str]) -> int:
        await _next(self, path, "add")
        self.value += 100
        raise ValueError

    @call
    async def fork(self, paths: list[list[str]], method: str) -> list[Any]:
        """Go along several paths at once."""
        return await asyncio.gather(*(_next(self, path, method) for path in paths), return_exceptions=False)

    @call
    async def change_beside(self, other: str) -> str:
        """Change the state while a call that comes back has changed it and waits."""
        task = asyncio.create_task(self.ref(Knot, other).bounce(to=self.id))
        while "bounced" not in self.seen:  # noqa: ASYNC110 - the state is what is watched
            await asyncio.sleep(0)
        self.value += 1
        await asyncio.sleep(0)
        await task
        return "changed"

    @call
    async def bounce(self, to: str) -> int:
        result: int = await self.ref(Knot, to).mark_slowly()
        return result

    @call
    async def mark_slowly(self) -> int:
        self.seen.append("bounced")
        for _ in range(20):
            await asyncio.sleep(0)
        return len(self.seen)


class Plain(Object):
    """Calls others, and does not let itself be called back."""

    value: int = 0

    @call
    async def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @call(readonly=True)
    async def get(self) -> int:
        return self.value

    @call
    async def walk(self, path: list[str], method: str = "add") -> int:
        result: int = await _next(self, path, method)
        return result

    @call
    async def survive_deadlock(self, path: list[str]) -> str:
        try:
            await self.ref(Plain, path[0]).walk(path=path[1:])
        except Deadlock:
            self.value += 1
            return "told"
        return "not told"

    @call
    async def add_both(self, other: str, by: int = 1) -> int:
        """Change another object, then oneself."""
        await self.ref(Plain, other).add(by=by)
        self.value += by
        return self.value

    @call
    async def add_other_then_fail_once(self, other: str) -> int:
        await self.ref(Plain, other).add(by=1)
        if not _failed:
            _failed.append(self.id)
            raise ValueError
        self.value += 1
        return self.value

    @call(readonly=True)
    async def read_through(self, path: list[str]) -> int:
        """Read along a path, readonly all the way."""
        if not path:
            return self.value
        result: int = await self.ref(Plain, path[0]).read_through(path=path[1:])
        return result


_failed: list[str] = []


async def _next(here: Object, path: list[str], method: str) -> Any:
    there = here.ref(type(here).__name__, path[0])
    if len(path) == 1:
        return await getattr(there, method)()
    return await there.walk(path=path[1:], method=method)
