"""Object types of expiry races: customers whose orders expire soon, and tills that take them.

An order is either taken or expired. The customer logs how each order ended, and the till logs what it took.
"""

from __future__ import annotations

from datetime import timedelta

from goverse import Object, Outcome, call, handler


class Till(Object):
    """Takes orders."""

    taken: list[str] = []

    @handler
    async def take(self, order: str) -> None:
        """Take an order."""
        self.taken.append(order)

    @call
    async def warm_up(self) -> None:
        """Do nothing, so that the object is in memory."""

    @call(readonly=True)
    async def logs(self) -> list[str]:
        """Return the orders that were taken."""
        return self.taken


class Customer(Object):
    """Sends orders.

    Attributes:
        ends: name and state of each order that has ended.
    """

    ends: list[tuple[str, str]] = []

    @call
    async def order(self, till: str, expiries_ms: dict[str, int]) -> None:
        """Send orders to a till; each expires after its time."""
        for name, expires_ms in expiries_ms.items():
            expires = timedelta(milliseconds=expires_ms)
            self.sending(then=self.ended, id=name, expires=expires)(self.ref(Till, till).take, order=name)

    @handler
    async def ended(self, outcome: Outcome[None]) -> None:
        """Log the end of an order."""
        self.ends.append((outcome.id, outcome.state))

    @call(readonly=True)
    async def logs(self) -> list[tuple[str, str]]:
        """Return the orders that have ended."""
        return self.ends
