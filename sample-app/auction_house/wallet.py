"""Wallets: money in cents, some of it held for auctions.

A wallet awaits no other object, so calls cannot wait for each other in a circle. It may send calls: nothing waits for a
call that was sent.

``hold`` sets an amount ("hold 70.00 for the clock") instead of adding to it, because an auction awaits it and may
repeat it. The other handlers are sent, so they take effect once.
"""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, Field

from auction_house.refusals import InsufficientFunds
from goverse import Object, call, handler, migration

Cents = Annotated[int, Field(gt=0, le=10**12)]
REVIEW_AFTER = timedelta(minutes=10)  # long after the last attempt of a bid


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
        """Set the amount that is held for an auction, which reviews later whether the bid exists."""
        self._check(auction, amount)
        self.holds[auction] = amount
        review = self.ref("Auction", auction).review  # by name, because the module of auctions imports this one
        self.sending(delay=REVIEW_AFTER, on_failure="drop")(review, bidder=self.id, amount=amount)
        return self._statement()

    @handler
    async def release(self, auction: str, amount: Cents, keep: int = 0) -> None:
        """Free the money that is held for a bid, but for ``keep``. The hold of a newer, higher bid stays."""
        if self.holds.get(auction) == amount:
            del self.holds[auction]
            if keep:
                self.holds[auction] = keep

    @handler(raises=(InsufficientFunds,))
    async def pay(self, auction: str, amount: Cents) -> None:
        """Pay the price of an auction, from the money that is held for it."""
        self._check(auction, amount)
        self.holds.pop(auction, None)
        self.balance_cents -= amount
        self.purchases[auction] = amount

    @handler
    async def receive(self, auction: str, amount: Cents) -> None:
        """Receive the price of an auction."""
        self.balance_cents += amount
        self.sales[auction] = amount

    def _check(self, auction: str, amount: Cents) -> None:
        free = self._statement().free + self.holds.get(auction, 0)
        if amount > free:
            raise InsufficientFunds(f"{self.id} has {free / 100:.2f} free, the bid needs {amount / 100:.2f}", free=free)

    def _statement(self) -> Statement:
        held = sum(self.holds.values())
        return Statement(balance=self.balance_cents, held=held, free=self.balance_cents - held)

    @migration(from_version=1)
    @staticmethod
    def _euros_to_cents(state: dict[str, Any]) -> dict[str, Any]:
        return {"balance_cents": round(state["balance"] * 100)}
