"""The receipt that an object in memory has of one sender of reliable calls."""

from __future__ import annotations

from goverse.model.receipts import Delivery, Receipt, Settlement


class Pair:
    """The receipt of one sender, as the commits of the object leave it, durable or queued.

    A delivery is judged by it when its turn starts. If a commit fails, all later ones of the object fail with it, and
    the receipt is dropped with the activation.
    """

    __slots__ = ("__weakref__", "receipt")

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt

    def settle(self, delivery: Delivery, outcome: bytes) -> Settlement:
        """Move the receipt on to ``delivery``, which is next, and return the settlement to commit."""
        settlement = Settlement(delivery, outcome)
        self.receipt = self.receipt.settled(settlement)
        return settlement
