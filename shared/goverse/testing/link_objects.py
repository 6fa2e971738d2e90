"""The object types that the link contract calls."""

from __future__ import annotations

import asyncio
from asyncio import Future
from typing import ClassVar

from goverse.errors import BusinessError
from goverse.objects.method import call
from goverse.objects.object import Object


class Overdrawn(BusinessError):
    """The ledger holds less than the amount."""

    status = 402
    code = "overdrawn"


class Door:
    """A barrier at which calls wait until the test opens it.

    Attributes:
        waiting: the calls that currently wait, without cancelled ones.
    """

    waiting: ClassVar[list[Future[None]]] = []

    @classmethod
    async def wait(cls) -> None:
        """Wait until the door opens."""
        future: Future[None] = asyncio.get_running_loop().create_future()
        cls.waiting.append(future)
        try:
            await future
        finally:
            if future in cls.waiting:
                cls.waiting.remove(future)

    @classmethod
    def open(cls) -> None:
        """Release the calls that currently wait."""
        waiting, cls.waiting = cls.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Ledger(Object, delete="anyone"):
    """A sum of amounts."""

    total: int = 0

    @call
    async def add(self, amount: int = 1) -> int:
        """Add an amount to the sum."""
        self.total += amount
        return self.total

    @call
    async def add_later(self, amount: int = 1) -> int:
        """Wait until the door opens, then add an amount to the sum."""
        await Door.wait()
        self.total += amount
        return self.total

    @call(raises=(Overdrawn,))
    async def take(self, amount: int) -> int:
        """Subtract an amount; raise ``Overdrawn`` if the sum is too small."""
        if amount > self.total:
            raise Overdrawn(f"there are {self.total}", total=self.total)
        self.total -= amount
        return self.total

    @call(readonly=True)
    async def repeat(self, text: str) -> str:
        """Return the text."""
        return text

    @call(readonly=True)
    async def who(self) -> str:
        """Return the caller and the trace context."""
        context = self.context
        return f"{context.caller} {context.traceparent} {context.tracestate}"


CLASSES = (Ledger,)
