"""The bound on deliveries to one receiver that are on their way: it halves when the receiver is overloaded.

Many senders can have calls for one object. Each pair keeps its own order, and the object's mailbox is finite, so the
number of deliveries on their way adapts to the receiver: it grows by one with each success and halves with each
``overloaded``, as TCP's congestion window does. Pairs that find no room wait here, in the order of their arrival.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

from goverse.model.keys import ObjectKey

Pair = TypeVar("Pair")

FIRST_LIMIT: Final = 64
LIMIT_MAX: Final = 512
"""Half of the default mailbox, so that reliable calls leave room for others."""


class _Receiver(Generic[Pair]):
    __slots__ = ("limit", "on_their_way", "waiting")

    def __init__(self) -> None:
        self.limit = FIRST_LIMIT
        self.on_their_way = 0
        self.waiting: deque[Pair] = deque()


class Receivers(Generic[Pair]):
    """The receivers of the deliveries of one node. One without a delivery on its way is forgotten."""

    def __init__(self) -> None:
        self._receivers: dict[ObjectKey, _Receiver[Pair]] = {}

    def __len__(self) -> int:
        """Return the number of receivers that are remembered."""
        return len(self._receivers)

    def room(self, key: ObjectKey) -> int:
        """Return the number of deliveries that may be started to ``key`` now."""
        found = self._receivers.get(key)
        return FIRST_LIMIT if found is None else max(0, found.limit - found.on_their_way)

    def started(self, key: ObjectKey, count: int) -> None:
        """Note that ``count`` deliveries are on their way."""
        self._receivers.setdefault(key, _Receiver()).on_their_way += count

    def wait(self, key: ObjectKey, pair: Pair) -> None:
        """Let ``pair`` wait for room. There is none, so a delivery is on its way, and ``ended`` will be called."""
        self._receivers[key].waiting.append(pair)

    def ended(self, key: ObjectKey, *, success: bool, overloaded: bool) -> Pair | None:
        """Note the answer to a delivery. Returns a pair that waited and has room now, or None."""
        receiver = self._receivers[key]
        receiver.on_their_way -= 1
        if overloaded:
            receiver.limit = max(1, receiver.limit // 2)
        elif success:
            receiver.limit = min(LIMIT_MAX, receiver.limit + 1)
        return self.take(key)

    def take(self, key: ObjectKey) -> Pair | None:
        """Return a pair that waits and has room now, or None. A pair that leaves room unused calls it for the next."""
        receiver = self._receivers.get(key)
        if receiver is None:
            return None
        if receiver.waiting and receiver.on_their_way < receiver.limit:
            return receiver.waiting.popleft()
        if not receiver.on_their_way and not receiver.waiting:
            del self._receivers[key]
        return None
