"""Parked calls, which wait for the owner of their shard: bounded, and first come, first served within a shard.

The router parks a call with ``park`` and takes calls back with ``moved`` (all calls of the shards whose route changed,
in arrival order) and ``due`` (calls whose time has come). When parking is full, a call is refused with ``overloaded``.
Before that, one shard may hold at most ``_SHARE`` times as many calls as there is room left, so a shard that never
recovers cannot take the room of all others. For example, with room for 100 calls, a shard that has 80 parked calls gets
no more (20 are left, and 80 is 4 times 20), while calls of other shards are still accepted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final, Generic, TypeVar

from goverse.errors import Overloaded

Call = TypeVar("Call")

_STALE_MAX: Final = 1_000
_SHARE: Final = 4  # one shard alone may fill 4/5 of all room, two together 8/9


class Parking(Generic[Call]):
    """Parked calls, indexed by shard and by time."""

    def __init__(self, calls_max: int) -> None:
        """Hold at most ``calls_max`` calls."""
        self._calls_max = calls_max
        self._calls: dict[int, tuple[int, Call]] = {}
        self._shards: dict[int, dict[int, None]] = {}
        self._times: list[tuple[float, int]] = []
        self._tickets = count(1)

    def __len__(self) -> int:
        """Return the number of parked calls."""
        return len(self._calls)

    def park(self, call: Call, shard: int, until: float) -> None:
        """Park ``call`` until the route of ``shard`` changes or until ``until``.

        Raises:
            Overloaded: too many calls are parked.
        """
        left = self._calls_max - len(self._calls)
        if len(self._shards.get(shard, ())) >= _SHARE * left:
            raise Overloaded(f"{len(self._calls)} calls are already waiting for moving shards", retry_after_s=1)
        if len(self._times) > 2 * len(self._calls) + _STALE_MAX:  # most entries are of calls that were taken back
            self._times = [entry for entry in self._times if entry[1] in self._calls]
            heapq.heapify(self._times)
        ticket = next(self._tickets)
        self._calls[ticket] = (shard, call)
        self._shards.setdefault(shard, {})[ticket] = None
        heapq.heappush(self._times, (until, ticket))

    def forget(self, is_over: Callable[[Call], bool]) -> None:
        """Drop the calls for which ``is_over`` returns True: their callers no longer wait."""
        for ticket in [ticket for ticket, (_, call) in self._calls.items() if is_over(call)]:
            self._take(ticket)

    def shards(self) -> list[int]:
        """Return the shards that have parked calls."""
        return list(self._shards)

    def moved(self, shards: Iterable[int]) -> list[Call]:
        """Take back the calls of ``shards``, in arrival order."""
        tickets = sorted(ticket for shard in shards for ticket in self._shards.get(shard, ()))
        return [self._take(ticket) for ticket in tickets if ticket in self._calls]

    def due(self, now: float) -> list[Call]:
        """Take back the calls whose time has come."""
        found: list[Call] = []
        while (at := self.next_at()) is not None and at <= now:
            found.append(self._take(heapq.heappop(self._times)[1]))
        return found

    def next_at(self) -> float | None:
        """Return when ``due`` will return a call; None while no call is parked."""
        while self._times and self._times[0][1] not in self._calls:
            heapq.heappop(self._times)
        return self._times[0][0] if self._times else None

    def _take(self, ticket: int) -> Call:
        shard, call = self._calls.pop(ticket)
        waiting = self._shards[shard]
        del waiting[ticket]
        if not waiting:
            del self._shards[shard]
        return call
