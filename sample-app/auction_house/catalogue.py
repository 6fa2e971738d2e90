"""The catalogue: a single object with all open auctions, so that a page can list them with one readonly call."""

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
    """The list of open auctions. The application has one catalogue, with the id ``main``."""

    lots: dict[str, Lot] = {}

    @handler
    async def show(self, lot: Lot) -> None:
        """Add an auction, or update its line."""
        self.lots[lot.auction] = lot

    @handler
    async def withdraw(self, auction: str) -> None:
        """Remove an auction from the list."""
        self.lots.pop(auction, None)

    @call(readonly=True)
    async def open_lots(self) -> list[Lot]:
        """Return the open auctions, sorted by title."""
        return sorted(self.lots.values(), key=lambda lot: (lot.title, lot.auction))
