"""Requests that wait for the end of a reliable call (long polls).

A waiting request takes no task, no timer and no place among the calls in progress. One sweep, while any request waits,
finds those whose time has passed, and those whose client is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from typing import Final, NamedTuple

from goverse.errors import GoverseError, Moving, Overloaded
from goverse.limits import CALL_WAITS_MAX
from goverse.model.frames import Reply
from goverse.model.keys import ObjectKey
from goverse_node.runtime.call import Call

SWEEP_S: Final = 0.1
"""The longest time by which an answer comes early: a gate has to get it before the deadline of its request."""

Name = tuple[ObjectKey, str]
"""The sender and the id of a call."""


class _Waiting(NamedTuple):
    call: Call
    shard: int
    until: float


class Waits:
    """The requests that wait, by the call that they wait for."""

    def __init__(self, present: Callable[[Call], None]) -> None:
        """``present`` answers a request whose time has passed with the present status of the call."""
        self._present = present
        self._waiting: dict[Name, list[_Waiting]] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of requests that wait."""
        return self._count

    def add(self, call: Call, name: Name, shard: int, until: float) -> None:
        """Let a request wait until the call has ended, or until a time of the loop's clock.

        Raises:
            Overloaded: too many requests wait.
        """
        if self._count >= CALL_WAITS_MAX:
            raise Overloaded(f"{self._count} requests already wait for the end of calls; try again", retry_after_s=1)
        call.request.body = bytes(bytearray(call.request.body))  # an encoder's text may hold a buffer of several KiB
        self._waiting.setdefault(name, []).append(_Waiting(call, shard, until))
        self._count += 1
        call.stats.inflight -= 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def ended(self, name: Name, status: Callable[[], bytes]) -> None:
        """Answer the requests that wait for a call with its last status."""
        waiting = self._waiting.pop(name, None)
        if waiting is None:
            return
        body = status()
        for call in self._leave(waiting):
            call.answer(Reply(body))

    def closed(self, shards: Collection[int]) -> None:
        """Send the requests about the calls of ``shards`` away: another node serves these."""
        for call in self._take(lambda each: each.shard in shards):
            call.refuse(Moving())

    def stop(self, error: GoverseError) -> None:
        """Refuse all requests with ``error``."""
        for call in self._take(lambda _: True):
            call.refuse(error)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        self._timer = None
        ends = asyncio.get_running_loop().time() + SWEEP_S
        for call in self._take(lambda each: each.until <= ends or each.call.waiter.done()):
            if call.pointless:
                call.answer(Reply())
            else:
                self._present(call)
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _take(self, is_due: Callable[[_Waiting], bool]) -> list[Call]:
        """Remove and return the requests that ``is_due`` selects; they count as in progress again."""
        found: list[_Waiting] = []
        for name, waiting in tuple(self._waiting.items()):
            due = [each for each in waiting if is_due(each)]
            if len(due) == len(waiting):
                del self._waiting[name]
            elif due:
                self._waiting[name] = [each for each in waiting if each not in due]
            found += due
        return list(self._leave(found))

    def _leave(self, waiting: list[_Waiting]) -> Iterator[Call]:
        self._count -= len(waiting)
        for each in waiting:
            each.call.stats.inflight += 1
            yield each.call
