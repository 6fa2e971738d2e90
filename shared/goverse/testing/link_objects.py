"""The objects that the link contract speaks to."""

from __future__ import annotations

import asyncio
from asyncio import Future
from typing import ClassVar

from goverse.errors import BusinessError
from goverse.objects.method import call
from goverse.objects.object import Object


class Overdrawn(BusinessError):
    """The ledger holds less than that."""

    status = 402
    code = "overdrawn"


class Door:
    """Where calls wait until the test opens.

    Attributes:
        waiting: the calls that wait now; one that was cancelled is not among them.
    """

    waiting: ClassVar[list[Future[None]]] = []

    @classmethod
    async def wait(cls) -> None:
        """Wait in front of the door."""
        future: Future[None] = asyncio.get_running_loop().create_future()
        cls.waiting.append(future)
        try:
            await future
        finally:
            if future in cls.waiting:
                cls.waiting.remove(future)

    @classmethod
    def open(cls) -> None:
        """Let everybody in who waits now."""
        waiting, cls.waiting = cls.waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Ledger(Object, delete="anyone"):
    """Holds a sum."""

    total: int = 0

    @call
    async def add(self, amount: int = 1) -> int:
        """Add to the sum."""
        self.total += amount
        return self.total

    @call
    async def add_later(self, amount: int = 1) -> int:
        """Add to the sum once the door opens."""
        await Door.wait()
        self.total += amount
        return self.total

    @call(raises=(Overdrawn,))
    async def take(self, amount: int) -> int:
        """Take away, if there is enough."""
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
        """Return who asks, and within which trace."""
        return f"{self.context.caller} {self.context.traceparent}"


CLASSES = (Ledger,)
