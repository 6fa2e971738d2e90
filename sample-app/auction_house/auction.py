"""Auctions: the rules of bidding and of the payment at the end.

An auction and a wallet are two objects, and each commits separately. Two rules keep their money consistent:

* ``bid`` and ``close`` first make all calls that can fail and change the auction last, so a refusal has no effect. If
  they fail halfway, the wallet may hold more money than necessary, but never less.
* ``settle`` releases the money of outbid bidders in a later turn, when the new bid is durable. It can be called at any
  time and any number of times.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field

from auction_house.catalogue import Catalogue, Lot
from auction_house.refusals import AuctionClosed, AuctionInProgress, BidTooLow, InsufficientFunds, OwnAuction
from auction_house.wallet import Cents, Wallet
from goverse import GoverseError, Object, call, raises

Title = Annotated[str, Field(min_length=1, max_length=80)]
# The id of a wallet. Ids with # are excluded because some of them are reserved.
Name = Annotated[str, Field(min_length=1, max_length=80, pattern="^[^#]+$")]
Reserve = Annotated[int, Field(ge=0, le=10**12)]
CATALOGUE = "main"


class Bid(BaseModel):
    """One bid, in cents."""

    bidder: str
    amount: int
    at: datetime


class Outcome(BaseModel):
    """The result of an auction. ``winner`` is None if no bid reached the reserve."""

    winner: str | None
    price: int


class Auction(Object, create_on_call=False, delete="anyone"):
    """An auction of one item. The seller creates it with PUT; it takes bids until the seller closes it."""

    title: str
    seller: str
    starting_price: int
    reserve: int
    bids: list[Bid] = []
    outcome: Outcome | None = None
    to_release: list[str] = []

    async def on_create(self, title: Title, seller: Name, starting_price: Cents = 100, reserve: Reserve = 0) -> None:
        """Open the auction. Prices are in cents; below the reserve the item is not sold."""
        self.title = title
        self.seller = seller
        self.starting_price = starting_price
        self.reserve = reserve
        await self._show()

    @raises(AuctionInProgress)
    async def on_delete(self) -> None:
        """Refuse the deletion of an auction while wallets hold money for it."""
        if self.to_release or (self.bids and self.outcome is None):
            raise AuctionInProgress(f"{self.title} has {len(self.bids)} bids; close and settle it first")
        await self.ref(Catalogue, CATALOGUE).withdraw(auction=self.id)

    @call(raises=(BidTooLow, InsufficientFunds, AuctionClosed, OwnAuction))
    async def bid(self, bidder: Name, amount: Cents) -> Bid:
        """Place a bid. The amount is held in the bidder's wallet until a higher bid is placed."""
        if self.outcome is not None:
            raise AuctionClosed(f"{self.title} is closed")
        if bidder == self.seller:
            raise OwnAuction()
        lowest = max(self.starting_price, self._price() + 1)
        if amount < lowest:
            raise BidTooLow(f"bid at least {lowest / 100:.2f}", lowest=lowest)
        await self.ref(Wallet, bidder).hold(auction=self.id, amount=amount)

        bid = Bid(bidder=bidder, amount=amount, at=datetime.now(UTC))
        self.to_release = [name for name in self._involved() if name != bidder]
        self.bids.append(bid)
        return bid

    @call
    async def close(self) -> Outcome:
        """Close the auction; the winner pays the seller. Closing a closed auction returns the same outcome."""
        if self.outcome is not None:
            return self.outcome
        leader, price = self._leader(), self._price()
        if leader is not None and price >= self.reserve:
            await self.ref(Wallet, leader).pay(auction=self.id, amount=price)
            await self.ref(Wallet, self.seller).receive(auction=self.id, amount=price)
            self.outcome = Outcome(winner=leader, price=price)
        else:
            self.to_release = self._involved()
            self.outcome = Outcome(winner=None, price=0)
        return self.outcome

    @call
    async def settle(self, also: Name | None = None) -> None:
        """Release the money of outbid bidders and update the catalogue. Call this after ``bid`` and ``close``.

        A bidder who does not know the outcome of a bid passes their name as ``also``: unless they lead, all money
        that they have in this auction is released. If a wallet is unreachable, the next ``settle`` tries it again.
        """
        free = set(self.to_release)
        if also is not None and also != self._leader():
            free.add(also)
        unreached: list[str] = []
        for bidder in sorted(free):
            try:
                await self.ref(Wallet, bidder).release(auction=self.id)
            except GoverseError:
                unreached.append(bidder)
        await self._show()
        self.to_release = unreached

    @call(readonly=True)
    async def history(self, limit: Annotated[int, Field(ge=1, le=1000)] = 20) -> list[Bid]:
        """Return the newest bids, highest first."""
        return self.bids[-limit:][::-1]

    def _leader(self) -> str | None:
        return self.bids[-1].bidder if self.bids else None

    def _price(self) -> int:
        return self.bids[-1].amount if self.bids else 0

    def _involved(self) -> list[str]:
        """Return the bidders whose wallets hold money: the leader, and the outbid ones that are not settled."""
        return [*self.to_release, *(bid.bidder for bid in self.bids[-1:])]

    async def _show(self) -> None:
        catalogue = self.ref(Catalogue, CATALOGUE)
        if self.outcome is not None:
            await catalogue.withdraw(auction=self.id)
            return
        price = self._price() or self.starting_price
        lot = Lot(auction=self.id, title=self.title, seller=self.seller, price=price, bids=len(self.bids))
        await catalogue.show(lot=lot)
