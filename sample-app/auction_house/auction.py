"""Auctions: the rules of bidding, and who pays whom in the end.

Each method first asks everything that may say no (the rules here, then the bidder's wallet) and changes its own state
last: when something raises, nothing of the turn is left. Calls to wallets are repeated safely, because a call that is
retried with the same idempotency key gives its nested calls the same keys again.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from auction_house.catalogue import Catalogue, Lot
from auction_house.refusals import AuctionClosed, AuctionInProgress, BidTooLow, OwnAuction
from auction_house.wallet import Cents, Wallet
from goverse import Object, TryAgain, call

Name = Annotated[str, Field(min_length=1, max_length=80)]
CATALOGUE = "main"


class Bid(BaseModel):
    """One bid, in cents."""

    bidder: str
    amount: int
    at: datetime


class Outcome(BaseModel):
    """How an auction ended; ``winner`` is None when nobody reached the reserve."""

    winner: str | None
    price: int


class Auction(Object, create_on_call=False):
    """One thing for sale. Created with PUT by the seller, then bid on until the seller closes it."""

    title: str
    seller: str
    starting_price: int
    reserve: int
    status: Literal["open", "closed"] = "open"
    bids: list[Bid] = []
    outcome: Outcome | None = None
    to_release: list[str] = []

    async def on_create(self, title: Name, seller: Name, starting_price: Cents = 100, reserve: int = 0) -> None:
        """Open the auction; prices are in cents, the reserve is what the seller wants at least."""
        self.title = title
        self.seller = seller
        self.starting_price = starting_price
        self.reserve = reserve
        await self._show()

    async def on_delete(self) -> None:
        """Refuse to forget an auction that people have money in."""
        if self.status == "open" and self.bids:
            raise AuctionInProgress(f"{self.title} has {len(self.bids)} bids; close it first")
        await self.ref(Catalogue, CATALOGUE).withdraw(auction=self.id)

    @call(raises=(BidTooLow, AuctionClosed, OwnAuction))
    async def bid(self, bidder: Name, amount: Cents) -> Bid:
        """Bid; the amount is held in the bidder's wallet until somebody bids more."""
        if self.status == "closed":
            raise AuctionClosed(f"{self.title} is closed")
        if bidder == self.seller:
            raise OwnAuction()
        lowest = max(self.starting_price, self._price() + 1)
        if amount < lowest:
            raise BidTooLow(f"bid at least {lowest / 100:.2f}", lowest=lowest)
        await self.ref(Wallet, bidder).hold(auction=self.id, amount=amount)

        bid = Bid(bidder=bidder, amount=amount, at=datetime.now(UTC))
        outbid = self._leader()
        self.bids.append(bid)
        if outbid is not None and outbid != bidder:
            self.to_release.append(outbid)
        await self._release()
        await self._show()
        return bid

    @call
    async def close(self) -> Outcome:
        """End the auction: the winner pays the seller, everybody else has their money free again."""
        if self.outcome is not None:
            return self.outcome
        leader, price = self._leader(), self._price()
        if leader is not None and price >= self.reserve:
            await self.ref(Wallet, leader).capture(auction=self.id)
            await self.ref(Wallet, self.seller).receive(auction=self.id, amount=price)
            self.outcome = Outcome(winner=leader, price=price)
        else:
            self.outcome = Outcome(winner=None, price=0)
            self.to_release += [leader] if leader is not None else []
        self.status = "closed"
        await self._release()
        await self.ref(Catalogue, CATALOGUE).withdraw(auction=self.id)
        return self.outcome

    @call(readonly=True)
    async def history(self, limit: Annotated[int, Field(ge=1, le=1000)] = 20) -> list[Bid]:
        """Return the newest bids, highest first."""
        return self.bids[-limit:][::-1]

    def _leader(self) -> str | None:
        return self.bids[-1].bidder if self.bids else None

    def _price(self) -> int:
        return self.bids[-1].amount if self.bids else 0

    async def _release(self) -> None:
        """Free the money of those who were outbid; who cannot be reached now is tried again with the next bid."""
        for bidder in list(self.to_release):
            if bidder == self._leader() and self.status == "open":
                self.to_release.remove(bidder)  # leads again with a newer hold
                continue
            try:
                await self.ref(Wallet, bidder).release(auction=self.id)
            except TryAgain:
                continue
            self.to_release.remove(bidder)

    async def _show(self) -> None:
        lot = Lot(
            auction=self.id,
            title=self.title,
            seller=self.seller,
            price=self._price() or self.starting_price,
            bids=len(self.bids),
        )
        await self.ref(Catalogue, CATALOGUE).show(lot=lot)
