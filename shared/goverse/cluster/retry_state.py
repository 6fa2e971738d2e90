"""The retry state of one routed call: the router's rules for sending, waiting and retrying.

Rules:

1. A call that was provably not executed (not sent, or answered with ``moving``) is sent again, to the owner shown in
   the shard table. A call that was sent and not answered is sent again with the same idempotency key and a higher
   ``attempt``. The router therefore gives a key (``gv-…``) to every call that changes something and has none.
2. ``attempt`` counts only the sends that were not answered. Only after such a send can the call have been executed
   before, and only then does a node look the key up.
3. After a failed send a call waits until the shard's route changes. The owner may also be the same and only the
   connection may have failed, so the call is retried on the same route after a pause that doubles each time.
4. At the deadline the caller gets a ``timeout`` that says whether the call may have been executed (``executed``: ``no``
   or ``unknown``), and when to retry if it was not.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from goverse.cluster.table import Route
from goverse.errors import Executed, GoverseError, Timeout, known
from goverse.limits import PARK_RETRY_S, PARK_RETRY_S_MAX, TIMEOUT_RETRY_AFTER_S


class Miss(Enum):
    """The way in which a send ended without a result."""

    MOVING = auto()  # the node refused it because the shard moves: not executed
    UNSENT = auto()  # there was no connection: not executed
    LOST = auto()  # it was sent and the connection broke before the reply: perhaps executed


class Send(NamedTuple):
    """Send the call to ``route`` as attempt number ``attempt``."""

    route: Route
    attempt: int


class Park(NamedTuple):
    """Wait until the shard's route changes, at most until ``until``, then call ``next`` again."""

    until: float


class Fail(NamedTuple):
    """Answer the call with ``error``."""

    error: GoverseError


Step = Send | Park | Fail


class RetryState:
    """The sends of one call so far. ``next`` returns the next step; ``missed`` records a send without a result.

    For example, a call is sent as attempt 0 and the connection breaks (``LOST``). While the shard's route stays the
    same, ``next`` returns ``Park`` until the pause is over, then ``Send`` as attempt 1. If the route changes earlier,
    ``next`` returns ``Send`` immediately.

    Attributes:
        lost_with: the processes that the call was lost with (``goverse.routing.processes``).
    """

    __slots__ = (
        "_avoided",
        "_began_at",
        "_deadline",
        "_lost",
        "_pause_s",
        "_retry_at",
        "_sent_to",
        "_under_way",
        "lost_with",
    )

    def __init__(self, now: float, deadline: float) -> None:
        """Start at ``now``."""
        self._began_at = now
        self._deadline = deadline
        self._lost = 0
        self.lost_with: list[str] = []
        self._under_way = False
        self._sent_to: Route | None = None
        self._avoided: Route | None = None
        self._retry_at = now
        self._pause_s = PARK_RETRY_S

    def next(self, route: Route | None, now: float) -> Step:
        """Return the next step, given the ``route`` in the shard table."""
        if now >= self._deadline:
            return self.expire(route, now)
        if route is None or (route == self._avoided and now < self._retry_at):
            return Park(self._deadline if route is None else min(self._retry_at, self._deadline))
        if route != self._avoided:
            self._pause_s = PARK_RETRY_S
        self._sent_to, self._under_way = route, True
        return Send(route, self._lost)

    def missed(self, miss: Miss, now: float) -> None:
        """Record that the last send had no result."""
        if miss is Miss.LOST:
            self._lost += 1
        self._avoided, self._under_way = self._sent_to, False
        self._retry_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, PARK_RETRY_S_MAX)

    def expire(self, route: Route | None, now: float) -> Fail:
        """Return the timeout error at the deadline, for a call that is parked or waits for its reply."""
        seconds = round(now - self._began_at, 3)
        what = "answer" if self._under_way else "take"
        waited = "no node served the object's shard" if route is None else f"{route.node} did not {what} the call"
        executed = Executed.UNKNOWN if self._lost or self._under_way else Executed.NO
        again = {} if executed is Executed.UNKNOWN else {"retry_after_s": TIMEOUT_RETRY_AFTER_S}
        return Fail(known(Timeout(f"{waited} within {seconds} s", seconds=seconds, **again), executed))
