"""Deadlines and client disconnects for all requests of a gate, with a single timer.

The timer ticks every ``PERIOD_S``. A request that is answered before the next tick costs one dictionary entry. One that
is still waiting at a tick becomes *old*: a task then watches for the disconnect of its client.

* At its deadline a wait ends with ``Expired``, even if the link never replies. After a stall of the event loop the
  timer skips one tick, so that replies which arrived during the stall are delivered first.
* If the client disconnects, the wait ends with ``ClientGone``.

Both cancel the future. The link sees the cancellation and drops a request that has not started. Fast-path calls
(``goverse_gate.fast_path``) have no task and learn of a disconnect from their connection; only their deadlines are kept
here.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Future, Task
from typing import Final, Protocol

from goverse.model.frames import Reply
from goverse_gate.exchange import Message, Receive

PERIOD_S: Final = 0.05
ANSWER_GRACE_S: Final = 0.1  # a node checks deadlines every 50 ms too, and its reply says whether the call ran


class Expired(Exception):
    """The deadline passed."""


class ClientGone(Exception):
    """The client closed its connection."""


class LinkBroken(Exception):
    """The link cancelled the future without a reply."""


class Expiring(Protocol):
    """A call with a deadline."""

    def expire(self) -> None:
        """End the call because its deadline passed. May be called more than once."""
        ...


class _Old:
    """A wait that has outlived one tick."""

    __slots__ = ("deadline", "reason", "watch")

    def __init__(self, deadline: float, watch: Task[None]) -> None:
        self.deadline = deadline
        self.watch = watch
        self.reason: type[Exception] | None = None


class Timeouts:
    """All waits of one gate. Belongs to one event loop."""

    def __init__(self, period_s: float = PERIOD_S) -> None:
        """Start with no waits and no timer."""
        self._period_s = period_s
        self._young: dict[Future[Reply], tuple[float, Receive]] = {}
        self._old: dict[Future[Reply], _Old] = {}
        self._reading: dict[Task[object], float] = {}
        self._late: set[Task[object]] = set()
        self._expiring: dict[Expiring, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = 0.0
        self._skipped = False  # the last tick did nothing

    async def reply(self, future: Future[Reply], deadline: float, receive: Receive) -> Reply:
        """Return the link's reply.

        Raises:
            Expired: the deadline passed.
            ClientGone: the client closed its connection.
            LinkBroken: the link cancelled the future.
        """
        if self._loop is None:
            self._arm()
        self._young[future] = (deadline, receive)
        try:
            return await future
        except CancelledError:
            old = self._old.get(future)
            if old is not None and old.reason is not None:
                raise old.reason from None
            if future.cancelled() and not _is_being_cancelled():
                raise LinkBroken from None
            raise
        finally:
            if self._young.pop(future, None) is None:
                self._old.pop(future).watch.cancel()

    async def message(self, receive: Receive, deadline: float) -> Message:
        """Return the next message from the client.

        Raises:
            Expired: none arrived before the deadline.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("messages are awaited inside a task")
        if self._loop is None:
            self._arm()
        self._reading[task] = deadline
        try:
            return await receive()
        except CancelledError:
            if task in self._late and task.uncancel() == 0:
                raise Expired from None
            raise
        finally:
            del self._reading[task]
            self._late.discard(task)

    def track(self, call: Expiring, deadline: float) -> None:
        """Call ``call.expire`` at every tick after ``deadline``, until ``untrack``."""
        if self._loop is None:
            self._arm()
        self._expiring[call] = deadline

    def untrack(self, call: Expiring) -> None:
        """Stop tracking ``call``."""
        self._expiring.pop(call, None)

    def _arm(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._schedule(self._loop)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + self._period_s
        loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        """Check every wait once. Stops the timer if there are none."""
        loop = self._loop
        if loop is None or not (self._young or self._old or self._reading or self._expiring):
            self._loop = None
            return
        now = loop.time()
        self._skipped = now - self._due > self._period_s and not self._skipped
        if self._skipped:
            self._schedule(loop)
            return
        for future, (deadline, receive) in self._young.items():
            self._old[future] = _Old(deadline, loop.create_task(self._watch(future, receive)))
        self._young.clear()
        for future, old in self._old.items():
            if old.deadline <= now:
                self._give_up(future, Expired)
        for call in [call for call, deadline in self._expiring.items() if deadline <= now]:
            call.expire()
        for task, deadline in self._reading.items():
            if deadline <= now and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._schedule(loop)

    def _give_up(self, future: Future[Reply], reason: type[Exception]) -> None:
        old = self._old.get(future)
        if old is not None and not future.done():
            old.reason = reason
            future.cancel()

    async def _watch(self, future: Future[Reply], receive: Receive) -> None:
        ends = 0  # an unread body may come first; its end counts once
        while ends < 2:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._give_up(future, ClientGone)
                return
            ends += not message.get("more_body", False)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
