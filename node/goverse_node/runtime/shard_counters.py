"""Counters per shard: calls, the time that methods ran, and the bytes of commits.

1. A counter only grows, for the life of the process, also while the shard is on another node. So there can be any
   number of readers (``ShardReader``): each keeps the values that it saw last, and takes nothing from the others.
2. The counters are plain numbers that the event loop adds to. A call pays for one addition, a turn for two readings of
   a clock.
3. Turn time is the time for which code of a method occupies the event loop. A coroutine is measured step by step, so
   time in which it waits does not count, nor do tasks that it starts. A turn that runs within a step of another one,
   because the method called an object of this node, counts for its own shard only.
4. Their number is that of the shards that this process has served. They are never labels of a Prometheus metric: the
   planner and the inspector read them here.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from time import perf_counter
from types import coroutine
from typing import Any, Final, NamedTuple, Protocol

_US: Final = 1_000_000


class ShardCounters:
    """The counters of one shard.

    Attributes:
        calls: calls and other requests to its objects, also those that were refused or repeated.
        turn_s: the time for which methods of its objects occupied the event loop, in seconds.
        committed_bytes: the size of the commit records that became durable: states and kept replies.
    """

    __slots__ = ("calls", "committed_bytes", "turn_s")

    def __init__(self) -> None:
        self.calls = 0
        self.turn_s = 0.0
        self.committed_bytes = 0


class ShardCounts(NamedTuple):
    """Values of the counters of one shard, or their growth between two reads."""

    calls: int
    turn_us: int
    committed_bytes: int

    def since(self, earlier: ShardCounts) -> ShardCounts:
        """Return the growth since ``earlier``."""
        return ShardCounts(*(now - before for now, before in zip(self, earlier, strict=True)))


NOTHING: Final = ShardCounts(0, 0, 0)


class MeasuredObject(Protocol):
    """The object of a turn, with the counters of its shard."""

    @property
    def counters(self) -> ShardCounters: ...


class MeasuredTurn(Protocol):
    """A turn of a coroutine.

    Attributes:
        began: the start of its current step, on ``perf_counter``, moved by the time of turns within the step.
    """

    began: float

    @property
    def activation(self) -> MeasuredObject: ...


@coroutine
def measured(
    running: Coroutine[Any, Any, Any] | Generator[Any, Any, Any], turn: MeasuredTurn
) -> Generator[Any, Any, Any]:
    """Await ``running`` as ``await`` does, and count the time of its steps."""
    failure: BaseException | None = None
    while True:
        turn.began = perf_counter()
        try:
            waits_for = running.send(None) if failure is None else running.throw(failure)
        except StopIteration as end:
            return end.value
        finally:
            turn.activation.counters.turn_s += perf_counter() - turn.began
            failure = None  # its traceback refers to this frame: a cycle that only the garbage collector could free
        try:
            yield waits_for
        except BaseException as error:
            failure = error


class CountersByShard:
    """The counters of all shards that this process has served."""

    def __init__(self) -> None:
        self._counters: dict[int, ShardCounters] = {}

    def of(self, shard: int) -> ShardCounters:
        """Return the counters of ``shard``, to add to them."""
        found = self._counters.get(shard)
        if found is None:
            found = self._counters[shard] = ShardCounters()
        return found

    def now(self) -> dict[int, ShardCounts]:
        """Return the present values by shard."""
        return {
            shard: ShardCounts(each.calls, round(each.turn_s * _US), each.committed_bytes)
            for shard, each in self._counters.items()
        }


class ShardReader:
    """One reader of the counters. It sees all growth since it was created, each part once."""

    def __init__(self, counters: CountersByShard) -> None:
        self._counters = counters
        self._seen = counters.now()

    def read(self) -> dict[int, ShardCounts]:
        """Return the growth since the last call, for the shards that have any."""
        before, self._seen = self._seen, self._counters.now()
        grown = {shard: counts.since(before.get(shard, NOTHING)) for shard, counts in self._seen.items()}
        return {shard: counts for shard, counts in grown.items() if counts != NOTHING}
