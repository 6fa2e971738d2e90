"""Auctions: the rules of bidding and of the payment at the end.

An auction, a wallet and the catalogue are separate objects, and each commits separately. An auction calls the others in
two ways:

* It *awaits* ``Wallet.hold``, because the bidder waits for the result. The call is made before the auction changes, so
  a refusal has no effect.
* It *sends* all other calls. They leave with the commit of the bid or of the close, take effect once, and are carried
  out afterwards, also if the server restarts in between.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, Field

from auction_house.catalogue import Catalogue, Lot
from auction_house.refusals import AuctionClosed, AuctionInProgress, BidTooLow, InsufficientFunds, OwnAuction
from auction_house.wallet import Cents, Wallet
from goverse import Object, Outcome, call, handler, raises

Title = Annotated[str, Field(min_length=1, max_length=80)]
# The id of a wallet. Ids with # are excluded because some of them are reserved.
Name = Annotated[str, Field(min_length=1, max_length=80, pattern="^[^#]+$")]
Reserve = Annotated[int, Field(ge=0, le=10**12)]
Duration = Annotated[int, Field(ge=1, le=30 * 86_400)]
CATALOGUE = "main"
END = "end"


class Bid(BaseModel):
    """One bid, in cents."""

    bidder: str
    amount: int
    at: datetime


class Sale(BaseModel):
    """The result of an auction. ``winner`` is None if the item was not sold."""

    winner: str | None
    price: int


class Auction(Object, create_on_call=False, delete="anyone"):
    """An auction of one item. The seller creates it with PUT; it takes bids until its end."""

    title: str
    seller: str
    starting_price: int
    reserve: int
    ends: datetime | None = None
    bids: list[Bid] = []
    outcome: Sale | None = None

    async def on_create(
        self,
        title: Title,
        seller: Name,
        starting_price: Cents = 100,
        reserve: Reserve = 0,
        lasts_s: Duration | None = None,
    ) -> None:
        """Open the auction until the seller closes it, and for ``lasts_s`` seconds at most.

        Prices are in cents; below the reserve the item is not sold.
        """
        self.title = title
        self.seller = seller
        self.starting_price = starting_price
        self.reserve = reserve
        if lasts_s is not None:
            lasts = timedelta(seconds=lasts_s)
            self.ends = datetime.now(UTC) + lasts
            self.sending(delay=lasts, id=END)(self.close)
        self._show()

    @raises(AuctionInProgress)
    async def on_delete(self) -> None:
        """Refuse the deletion of an auction that has bids, until all money is where it belongs."""
        if self.bids and (self.outcome is None or self.outbox):
            raise AuctionInProgress(f"{self.title} has {len(self.bids)} bids; close it first")
        self.cancel(END)
        self.send(self.ref(Catalogue, CATALOGUE).withdraw, auction=self.id)

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

        self._release_leader()
        bid = Bid(bidder=bidder, amount=amount, at=datetime.now(UTC))
        self.bids.append(bid)
        self._show()
        return bid

    @call
    async def close(self) -> Sale:
        """Close the auction; the winner pays the seller. Closing a closed auction returns the same outcome."""
        if self.outcome is not None:
            return self.outcome
        self.cancel(END)
        self.send(self.ref(Catalogue, CATALOGUE).withdraw, auction=self.id)
        if not self.bids or self._price() < self.reserve:
            return self._fail()
        winner, price = self.bids[-1].bidder, self._price()
        self.sending(then=self.paid)(self.ref(Wallet, winner).pay, auction=self.id, amount=price)
        self.outcome = Sale(winner=winner, price=price)
        return self.outcome

    @handler
    async def paid(self, outcome: Outcome[None]) -> None:
        """Pay the seller when the winner has paid. Without the money there is no sale."""
        if outcome.ok:
            self.send(self.ref(Wallet, self.seller).receive, auction=self.id, amount=self._price())
        else:
            self._fail()

    @handler
    async def review(self, bidder: Name, amount: Cents) -> None:
        """Release the money of a bid that does not exist, because its turn failed after ``Wallet.hold``."""
        if not any((bid.bidder, bid.amount) == (bidder, amount) for bid in self.bids):
            keep = self._price() if self.bids and self.bids[-1].bidder == bidder else 0
            self.send(self.ref(Wallet, bidder).release, auction=self.id, amount=amount, keep=keep)

    @call(readonly=True)
    async def history(self, limit: Annotated[int, Field(ge=1, le=1000)] = 20) -> list[Bid]:
        """Return the newest bids, highest first."""
        return self.bids[-limit:][::-1]

    def _price(self) -> int:
        return self.bids[-1].amount if self.bids else 0

    def _fail(self) -> Sale:
        """End without a sale."""
        self._release_leader()
        self.outcome = Sale(winner=None, price=0)
        return self.outcome

    def _release_leader(self) -> None:
        """Release the money of the leading bid."""
        if self.bids:
            leader = self.ref(Wallet, self.bids[-1].bidder)
            self.send(leader.release, auction=self.id, amount=self._price())

    def _show(self) -> None:
        price = self._price() or self.starting_price
        lot = Lot(auction=self.id, title=self.title, seller=self.seller, price=price, bids=len(self.bids))
        self.send(self.ref(Catalogue, CATALOGUE).show, lot=lot)
