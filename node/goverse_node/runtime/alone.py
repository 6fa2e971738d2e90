"""One suspect at a time: the deliveries of calls that may have ended a node, on the node of their receivers.

A call that was running when a node ended may have ended it. Its sender delivers it with ``Delivery.alone``. Several
senders can do that at the same time, and if the node ends while two such calls are on their way, nothing tells the
guilty one from the innocent one. So a suspect runs in two steps:

1. The first delivery does not run. It is answered with ``try_again``: the node keeps the place for this call
   (``GRANTED``), or another suspect has it.
2. The sender notes in its outbox that the call is about to run, and delivers it again. That delivery runs.

At most one call has the place. If the node ends, the only call that was noted is the one that had it. A place that is
not used for ``PLACE_S`` is given to the next call that asks.
"""

from __future__ import annotations

import math
from typing import Final

from goverse.errors import TryAgain
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Delivery
from goverse_node.runtime.call import Call

PLACE_S: Final = 10.0

GRANTED: Final = "granted"
"""The member of the ``try_again`` that grants the place."""


class Alone:
    """The place for one suspect on this node."""

    def __init__(self) -> None:
        """Nothing runs."""
        self._holder: tuple[ObjectKey, int] | None = None
        self._until = 0.0
        self._running: Call | None = None

    def refusal(self, call: Call, delivery: Delivery, now: float) -> TryAgain | None:
        """Return None if the delivery may run now, else the answer to it."""
        if self._running is not None and self._running.answered:
            self._running = self._holder = None
        asks = delivery.sender, delivery.number
        if self._running is call:
            return None
        if self._running is None and self._holder == asks:
            self._running = call
            return None
        if self._running is not None or (self._holder is not None and now < self._until):
            return TryAgain("another call that may have ended a node runs alone at the moment")
        self._holder, self._until = asks, now + PLACE_S
        return TryAgain("the call may run alone now; deliver it again", **{GRANTED: True})

    def take(self, holder: tuple[ObjectKey, int], now: float) -> bool:
        """Take the place for the turn that receives the outcome of a suspect. Return False if it is not free."""
        if self._running is not None and self._running.answered:
            self._running = self._holder = None
        if self._running is not None or (self._holder not in (None, holder) and now < self._until):
            return False
        self._holder, self._until = holder, math.inf
        return True

    def leave(self, holder: tuple[ObjectKey, int]) -> None:
        """Give up the place that ``take`` gave."""
        if self._running is None and self._holder == holder:
            self._holder = None
