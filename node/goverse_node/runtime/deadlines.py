"""Deadlines of waiting calls and running turns, enforced by one timer.

* A call that waits past its deadline is refused.
* A turn that runs past its deadline continues for a follower with a later deadline, if there is one. Otherwise it is
  cancelled.
* A turn that ignores its cancellation for ``cancel_grace_s`` is abandoned: its object is reloaded without it.

The timer runs every ``_SWEEP_S`` seconds, and only while a call waits or a turn runs.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import Final, Protocol

from goverse.errors import GoverseError, IdempotencyInProgress
from goverse_node.options import NodeOptions
from goverse_node.runtime.call import Call
from goverse_node.runtime.stats import NodeStats
from goverse_node.runtime.turn import Turn

logger = logging.getLogger("goverse.node")

_SWEEP_S: Final = 0.05  # the longest time from a deadline to its enforcement


class Mailbox(Protocol):
    """Calls that wait for their turn."""

    def forget_answered(self) -> None:
        """Drop the calls that were answered while they waited."""
        ...


class Deadlines:
    """Enforces the deadlines of waiting calls and running turns.

    Attributes:
        waiting: the calls that wait for their turn, for the store, or for their leader, each with its mailbox or None.
        running: the turns that run as tasks, each with the time at which its cancellation was noted, or None.
    """

    def __init__(self, options: NodeOptions, stats: NodeStats) -> None:
        self.waiting: dict[Call, Mailbox | None] = {}  # in the order of arrival
        self.running: dict[Turn, float | None] = {}
        self._options = options
        self._stats = stats
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use the clock of ``loop``."""
        self._loop = loop
        self._context = copy_context()  # the timer must not keep the context of the turn that arms it alive

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def track(self, turn: Turn) -> None:
        """Enforce the deadline of a turn that runs as a task."""
        self.running[turn] = None
        self._arm()

    def untrack(self, turn: Turn) -> None:
        """Forget a turn that has ended."""
        self.running.pop(turn, None)

    def watch(self, call: Call, mailbox: Mailbox | None = None) -> None:
        """Enforce the deadline of a waiting call. It leaves ``mailbox`` when it expires or loses its client."""
        self.waiting[call] = mailbox
        self._arm()

    def unwatch(self, call: Call) -> None:
        """Forget a call that no longer waits."""
        self.waiting.pop(call, None)

    def end_all(self, error: GoverseError) -> None:
        """Cancel all running turns and refuse all waiting calls with ``error``."""
        for turn in tuple(self.running):
            turn.expire(error)
        for call in tuple(self.waiting):
            self.unwatch(call)
            call.refuse(error)

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP_S, self._sweep, context=self._context)

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._sweep_waiting(now)
        for turn, expired_at in tuple(self.running.items()):
            if turn.expired is None and turn.deadline <= now and not turn.extend(now):
                self._expire(turn)
            if turn.expired is not None and expired_at is None:
                self.running[turn] = now
            elif expired_at is not None and expired_at + self._options.cancel_grace_s <= now:
                self._abandon(turn)
        if self.waiting or self.running:
            self._arm()

    def _sweep_waiting(self, now: float) -> None:
        """Refuse the waiting calls whose deadline has passed, and drop those whose clients are gone."""
        left: dict[Mailbox, None] = {}
        for call in [one for one in self.waiting if one.request.deadline <= now or one.answered or one.waiter.done()]:
            if call not in self.waiting:
                continue  # its turn started while another caller was being answered
            mailbox = self.waiting[call]
            if call.pointless:
                call.give_up()
            elif call.request.deadline > now:
                continue  # its client is gone, but a follower waits
            elif call.leader is not None:
                call.give_up(IdempotencyInProgress(retry_after_s=1))
            elif not call.expire(now):
                continue  # a follower took its place
            self.unwatch(call)
            if mailbox is not None:
                left[mailbox] = None
        for mailbox in left:
            mailbox.forget_answered()

    def _expire(self, turn: Turn) -> None:
        self._stats.count_timeout(turn.full_name)
        turn.expire(turn.timeout())

    def _abandon(self, turn: Turn) -> None:
        self.untrack(turn)
        turn.closed = True
        self._stats.abandoned += 1
        logger.error(
            "cancelled method did not stop; reloading its object without it",
            extra=turn.log_fields(),
        )
        turn.activation.leave()
