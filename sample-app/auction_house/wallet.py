"""Wallets: money in cents, some of it held for auctions.

A wallet makes no calls to other objects. Calls go from auctions to wallets, never back, so deadlocks cannot occur.

The handlers set an amount ("hold 70.00 for the clock") instead of adding to it or subtracting from it. Repeating a call
is therefore harmless, and after an auction failed halfway, its next call corrects the amount.
"""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from auction_house.refusals import InsufficientFunds
from goverse import Object, call, handler, migration

Cents = Annotated[int, Field(gt=0, le=10**12)]


class Statement(BaseModel):
    """The money in a wallet, in cents."""

    balance: int
    held: int
    free: int


class Wallet(Object, state_version=2):
    """The money of one person. The id is the person's name.

    The methods that hold and transfer money are handlers, so that auctions can call them and clients cannot.

    The first release stored ``balance`` in euros. Such states are migrated when they are loaded.
    """

    balance_cents: Annotated[int, Field(ge=0)] = 0
    holds: dict[str, int] = {}
    purchases: dict[str, int] = {}
    sales: dict[str, int] = {}

    @call
    async def deposit(self, amount: Cents) -> Statement:
        """Deposit money."""
        self.balance_cents += amount
        return self._statement()

    @call(readonly=True)
    async def statement(self) -> Statement:
        """Return the balance, and how much of it is held for bids."""
        return self._statement()

    @handler(raises=(InsufficientFunds,))
    async def hold(self, auction: str, amount: Cents) -> Statement:
        """Set the amount that is held for an auction."""
        self._forget(auction)
        free = self._statement().free
        if amount > free:
            raise InsufficientFunds(f"{self.id} has {free / 100:.2f} free, the bid needs {amount / 100:.2f}", free=free)
        self.holds[auction] = amount
        return self._statement()

    @handler
    async def release(self, auction: str) -> Statement:
        """Free all money that was held or paid for an auction."""
        self._forget(auction)
        return self._statement()

    @handler
    async def pay(self, auction: str, amount: Cents) -> Statement:
        """Set the price paid in an auction, and free the rest of the money held for it."""
        self._forget(auction)
        self.purchases[auction] = amount
        self.balance_cents -= amount
        return self._statement()

    @handler
    async def receive(self, auction: str, amount: Cents) -> Statement:
        """Set the price received in an auction."""
        self.balance_cents += amount - self.sales.get(auction, 0)
        self.sales[auction] = amount
        return self._statement()

    def _forget(self, auction: str) -> None:
        self.holds.pop(auction, None)
        self.balance_cents += self.purchases.pop(auction, 0)

    def _statement(self) -> Statement:
        held = sum(self.holds.values())
        return Statement(balance=self.balance_cents, held=held, free=self.balance_cents - held)

    @migration(from_version=1)
    @staticmethod
    def _euros_to_cents(state: dict[str, Any]) -> dict[str, Any]:
        return {"balance_cents": round(state["balance"] * 100)}
