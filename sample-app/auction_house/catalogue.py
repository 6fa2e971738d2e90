"""The catalogue: one object that knows what is open, so that a page can list it with one readonly call."""

from pydantic import BaseModel

from goverse import Object, call, handler


class Lot(BaseModel):
    """One line of the catalogue; the price is in cents."""

    auction: str
    title: str
    seller: str
    price: int
    bids: int


class Catalogue(Object):
    """Lists the auctions that are open; there is one, with the id ``main``."""

    lots: dict[str, Lot] = {}

    @handler
    async def show(self, lot: Lot) -> None:
        """List an auction, or bring its line up to date."""
        self.lots[lot.auction] = lot

    @handler
    async def withdraw(self, auction: str) -> None:
        """Take an auction off the list."""
        self.lots.pop(auction, None)

    @call(readonly=True)
    async def open_lots(self) -> list[Lot]:
        """Return what is open, by title."""
        return sorted(self.lots.values(), key=lambda lot: (lot.title, lot.auction))
