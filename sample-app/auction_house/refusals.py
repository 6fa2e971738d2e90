"""Business errors of the auction house, with the HTTP status and the code that clients get."""

from goverse import BusinessError


class InsufficientFunds(BusinessError):
    """The wallet has less free money than the amount."""

    status = 402
    code = "insufficient_funds"


class BidTooLow(BusinessError):
    """The bid is not higher than the leading bid, or is below the starting price."""

    status = 409
    code = "bid_too_low"


class AuctionClosed(BusinessError):
    """The auction is closed and takes no more bids."""

    status = 409
    code = "auction_closed"


class OwnAuction(BusinessError):
    """Sellers cannot bid in their own auctions."""

    status = 403
    code = "own_auction"


class AuctionInProgress(BusinessError):
    """An auction with bids can be deleted when it is closed and all money is where it belongs."""

    status = 409
    code = "auction_in_progress"
