"""Wallets: money in cents, some of it held for auctions.

A wallet calls nobody. That is what keeps the house free of deadlocks: calls go from auctions to wallets, never back.

What an auction asks of a wallet says how things *should be* between the two ("70.00 are held for the clock"), not what
to add or take away. So asking twice is harmless, and whatever an auction asked before it failed half-way is put right
by what it asks next.
"""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from auction_house.refusals import InsufficientFunds
from goverse import Object, call, handler, migration

Cents = Annotated[int, Field(gt=0, le=10**12)]


class Statement(BaseModel):
    """What a wallet holds, in cents."""

    balance: int
    held: int
    free: int


class Wallet(Object, state_version=2):
    """One person's money; the id is the person's name.

    Only auctions hold, take and give money: those methods are handlers, which no request from outside reaches.

    The first release kept ``balance`` in whole euros; such states are migrated when they are loaded.
    """

    balance_cents: Annotated[int, Field(ge=0)] = 0
    holds: dict[str, int] = {}
    purchases: dict[str, int] = {}
    sales: dict[str, int] = {}

    @call
    async def deposit(self, amount: Cents) -> Statement:
        """Put money in."""
        self.balance_cents += amount
        return self._statement()

    @call(readonly=True)
    async def statement(self) -> Statement:
        """Tell how much there is, and how much of it is held for bids."""
        return self._statement()

    @handler(raises=(InsufficientFunds,))
    async def hold(self, auction: str, amount: Cents) -> Statement:
        """Have just this amount set aside for the leading bid of an auction."""
        self._forget(auction)
        free = self._statement().free
        if amount > free:
            raise InsufficientFunds(f"{self.id} has {free / 100:.2f} free, the bid needs {amount / 100:.2f}", free=free)
        self.holds[auction] = amount
        return self._statement()

    @handler
    async def release(self, auction: str) -> Statement:
        """Have nothing to do with an auction: what was held or paid for it is free."""
        self._forget(auction)
        return self._statement()

    @handler
    async def pay(self, auction: str, amount: Cents) -> Statement:
        """Have paid just this price for what was won; what was held beyond it is free."""
        self._forget(auction)
        self.purchases[auction] = amount
        self.balance_cents -= amount
        return self._statement()

    @handler
    async def receive(self, auction: str, amount: Cents) -> Statement:
        """Have received just this price for what was sold."""
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
