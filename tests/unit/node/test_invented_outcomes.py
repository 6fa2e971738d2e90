"""An outcome is what a reliable call ended with: no other call can give one to a handler."""

from __future__ import annotations

from typing import Any

import pytest

from goverse import AccessDenied, Object, Outcome, call, handler
from goverse.testing import ObjectHost

pytestmark = pytest.mark.requirement("DUR-3")

PAID: dict[str, Any] = {"outcome": {"id": "pay", "state": "success", "ok": True, "value": 1}}


class Bank(Object):
    @handler
    async def charge(self) -> int:
        return 7


class Order(Object):
    paid_with: int = 0

    @call
    async def pay(self) -> None:
        self.sending(then=self.paid)(self.ref(Bank, "b").charge)

    @handler
    async def paid(self, outcome: Outcome[int]) -> None:
        self.paid_with += outcome.value


class Forger(Object):
    @call
    async def invent(self) -> None:
        self.send(self.ref("Order", "o").paid, **PAID)

    @call
    async def ask(self) -> str:
        try:
            await self.ref("Order", "o").paid(**PAID)
        except AccessDenied as refused:
            return refused.detail
        return ""


async def test_only_the_end_of_a_call_gives_an_outcome() -> None:
    async with ObjectHost(Bank, Order, Forger) as host:
        refused = await host.ref(Forger, "f").ask()
        await host.ref(Forger, "f").invent()
        await host.ref(Order, "o").pay()
        await host.deliver()

        assert refused.startswith("Order.paid takes the outcome of a reliable call, so only GoVerse calls it")
        assert await host.state(Order, "o") == {"paid_with": 7}
