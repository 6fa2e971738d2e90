"""Deadlines: every call that waits and every turn that runs has one, and one timer looks after all of them.

A call that waits too long is refused. A turn that runs too long goes on for a follower that may wait longer (a call
with the same idempotency key), else it is cancelled; if it ignores that for the grace period, its object is reloaded
and goes on without it. The timer runs only while there is something to look after.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import Final

from goverse.errors import GoverseError, IdempotencyInProgress
from goverse_node.call import Call
from goverse_node.options import NodeOptions
from goverse_node.stats import NodeStats
from goverse_node.turn import Turn
from goverse_node.turns import expire_waiting, extend, timeout_of

logger = logging.getLogger("goverse.node")

_SWEEP_S: Final = 0.05  # how late a passed deadline may be noticed


class Deadlines:
    """Looks after waiting calls and running turns.

    Attributes:
        waiting: the calls that wait for their turn, for the store, or for an equal call.
        running: the turns that did not end at once, with the time since when they should have stopped.
    """

    def __init__(self, options: NodeOptions, stats: NodeStats) -> None:
        """Look after nothing yet."""
        self.waiting: set[Call] = set()
        self.running: dict[Turn, float | None] = {}
        self._options = options
        self._stats = stats
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use the clock of ``loop``."""
        self._loop = loop
        self._context = copy_context()  # not that of the turn that happens to arm the timer, which it would keep alive

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def track(self, turn: Turn) -> None:
        """Look after a turn that did not end at once."""
        self.running[turn] = None
        self._arm()

    def untrack(self, turn: Turn) -> None:
        """A turn is over."""
        self.running.pop(turn, None)

    def watch(self, call: Call) -> None:
        """Look after a call that waits."""
        self.waiting.add(call)
        self._arm()

    def unwatch(self, call: Call) -> None:
        """A call waits no more."""
        self.waiting.discard(call)

    def end_all(self, error: GoverseError) -> None:
        """Refuse and cancel everything."""
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
        for call in [call for call in self.waiting if call.answered or call.request.deadline <= now]:
            if call not in self.waiting:
                continue  # its turn came, while another caller was told
            self.waiting.discard(call)
            if call.follows and not call.answered:
                call.refuse(IdempotencyInProgress(retry_after_s=1))
            elif not call.answered and not expire_waiting(call, now):
                self.waiting.add(call)
        for turn, expired_at in tuple(self.running.items()):
            if turn.expired is None and turn.deadline <= now and not extend(turn, now):
                self._expire(turn)
            if turn.expired is not None and expired_at is None:
                self.running[turn] = now
            elif expired_at is not None and expired_at + self._options.cancel_grace_s <= now:
                self._abandon(turn)
        if self.waiting or self.running:
            self._arm()

    def _expire(self, turn: Turn) -> None:
        self._stats.count_timeout(f"{turn.activation.key.type}.{turn.name}")
        turn.expire(timeout_of(turn))

    def _abandon(self, turn: Turn) -> None:
        self.untrack(turn)
        turn.closed = True
        self._stats.abandoned += 1
        logger.error(
            "a cancelled method does not stop; its object is reloaded and goes on without it",
            extra=turn.place(),
        )
        turn.activation.leave()
