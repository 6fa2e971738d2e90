"""What the auction house says no to, with the status and code that callers see."""

from goverse import BusinessError


class InsufficientFunds(BusinessError):
    """The wallet has less free money than the amount."""

    status = 402
    code = "insufficient_funds"


class BidTooLow(BusinessError):
    """Another bid is as high, or the bid is below the starting price."""

    status = 409
    code = "bid_too_low"


class AuctionClosed(BusinessError):
    """The auction takes no bids any more."""

    status = 409
    code = "auction_closed"


class OwnAuction(BusinessError):
    """Sellers do not bid on what they sell."""

    status = 403
    code = "own_auction"


class AuctionInProgress(BusinessError):
    """An auction with bids is closed before it is deleted."""

    status = 409
    code = "auction_in_progress"
