"""An auction house: wallets that hold money, auctions that take bids, and a catalogue of open auctions.

Serve it with ``goverse dev sample-app/auction_house --web sample-app/web``.
"""

from auction_house.auction import Auction
from auction_house.catalogue import Catalogue
from auction_house.counter import Counter
from auction_house.wallet import Wallet

__all__ = ["Auction", "Catalogue", "Counter", "Wallet"]
