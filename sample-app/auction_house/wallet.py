"""Wallets: money in cents, some of it held for auctions.

A wallet calls nobody. That is what keeps the house free of deadlocks: calls go from auctions to wallets, never back.
Every movement that an auction asks for names the auction, so asking twice moves the money once.
"""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from auction_house.refusals import InsufficientFunds
from goverse import Object, call, migration

Cents = Annotated[int, Field(gt=0, le=10**12)]


class Statement(BaseModel):
    """What a wallet holds, in cents."""

    balance: int
    held: int
    free: int


class Wallet(Object, state_version=2):
    """One person's money; the id is the person's name.

    The first release kept ``balance`` in whole euros; such states are migrated when they are loaded.
    """

    balance_cents: Annotated[int, Field(ge=0)] = 0
    holds: dict[str, int] = {}
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

    @call(raises=(InsufficientFunds,))
    async def hold(self, auction: str, amount: Cents) -> Statement:
        """Set money aside for the leading bid of an auction, in place of what was held for it before."""
        free = self._free() + self.holds.get(auction, 0)
        if amount > free:
            raise InsufficientFunds(f"{self.id} has {free / 100:.2f} free, the bid needs {amount / 100:.2f}", free=free)
        self.holds[auction] = amount
        return self._statement()

    @call
    async def release(self, auction: str) -> Statement:
        """Give back what was held for an auction, if anything."""
        self.holds.pop(auction, None)
        return self._statement()

    @call
    async def capture(self, auction: str) -> int:
        """Take what is held for a won auction out of the wallet; return the amount, 0 the second time."""
        amount = self.holds.pop(auction, 0)
        self.balance_cents -= amount
        return amount

    @call
    async def receive(self, auction: str, amount: Cents) -> Statement:
        """Take in the price of something sold; once per auction."""
        if auction not in self.sales:
            self.sales[auction] = amount
            self.balance_cents += amount
        return self._statement()

    def _free(self) -> int:
        return self.balance_cents - sum(self.holds.values())

    def _statement(self) -> Statement:
        return Statement(balance=self.balance_cents, held=sum(self.holds.values()), free=self._free())

    @migration(from_version=1)
    @staticmethod
    def _euros_to_cents(state: dict[str, Any]) -> dict[str, Any]:
        return {"balance_cents": round(state["balance"] * 100), "holds": {}, "sales": {}}
