"""Waiting for replies and bodies without a timer or a task per request.

One coarse timer looks at everybody. A request that is answered before the timer comes round pays for an entry
in a dict and nothing else. One that is still there is *old*: from then on a task watches whether its client
went away.

* At its deadline the wait ends with ``Expired``, whether the link ever answers or not. An event loop that stood still
  first takes in what came meanwhile: the timer leaves one round out.
* When the client goes away the wait ends with ``ClientGone``.

Either way the future is cancelled, which tells the link that nobody waits: a request that has not begun is
dropped. Calls that have no task (``goverse_gate.fast_path``) learn of their client's departure from the connection; here
they only have their deadline.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Future, Task
from typing import Final, Protocol

from goverse.model.frames import Reply
from goverse_gate.exchange import Message, Receive

PERIOD_S: Final = 0.05
ANSWER_GRACE_S: Final = 0.1  # a node looks at deadlines every 50 ms as well, and knows better what became of a call


class Expired(Exception):
    """The deadline passed."""


class ClientGone(Exception):
    """The client closed its connection."""


class LinkBroken(Exception):
    """The link gave the future up without a reply."""


class Expiring(Protocol):
    """Something that is told when its deadline passed."""

    def expire(self) -> None:
        """The deadline passed; may be told more than once."""
        ...


class _Old:
    """A wait that outlived one round of the timer."""

    __slots__ = ("deadline", "reason", "watch")

    def __init__(self, deadline: float, watch: Task[None]) -> None:
        self.deadline = deadline
        self.watch = watch
        self.reason: type[Exception] | None = None


class Timeouts:
    """Everybody who waits in one gate. Belongs to one event loop."""

    def __init__(self, period_s: float = PERIOD_S) -> None:
        """Nobody waits yet."""
        self._period_s = period_s
        self._young: dict[Future[Reply], tuple[float, Receive]] = {}
        self._old: dict[Future[Reply], _Old] = {}
        self._reading: dict[Task[object], float] = {}
        self._late: set[Task[object]] = set()
        self._expiring: dict[Expiring, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = 0.0
        self._left_out = False

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
            Expired: it did not come by the deadline.
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
        """Tell ``call`` when its deadline passed, until it is forgotten."""
        if self._loop is None:
            self._arm()
        self._expiring[call] = deadline

    def untrack(self, call: Expiring) -> None:
        """Stop waiting for a deadline."""
        self._expiring.pop(call, None)

    def _arm(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._look_again(self._loop)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + self._period_s
        loop.call_at(self._due, self._look)

    def _look(self) -> None:
        """Go round once; stop the timer when nobody waits."""
        loop = self._loop
        if loop is None or not (self._young or self._old or self._reading or self._expiring):
            self._loop = None
            return
        now = loop.time()
        self._left_out = now - self._due > self._period_s and not self._left_out
        if self._left_out:
            self._look_again(loop)
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
        self._look_again(loop)

    def _give_up(self, future: Future[Reply], reason: type[Exception]) -> None:
        old = self._old.get(future)
        if old is not None and not future.done():
            old.reason = reason
            future.cancel()

    async def _watch(self, future: Future[Reply], receive: Receive) -> None:
        ends = 0  # a body that nobody asked for may still be there, and ends once
        while ends < 2:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._give_up(future, ClientGone)
                return
            ends += not message.get("more_body", False)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
