"""A call on its way to the owner of its object: what a router does with it, step by step.

Rules:

1. What was provably not executed (not sent, or answered ``moving``) is sent again, to the owner that the table shows;
   what was sent and not answered is sent again with the same idempotency key and a higher ``attempt``. So every call
   that changes something has a key: its caller's, or one that the router made (``gv-…``).
2. ``attempt`` counts sends without an answer and nothing else: only behind one of those can an earlier attempt have
   been executed, and only then does a node look the key up.
3. A call waits for its shard's route to change from the one that did not work. It does not wait for that alone: the
   owner may be the same and only the connection may have been cut, so it tries again after a pause that doubles.
4. Past the deadline the caller is told whether the call may have been executed (``executed``: ``no`` or ``unknown``),
   and when to try again where it was not.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from goverse.cluster.table import Route
from goverse.errors import Executed, GoverseError, Timeout, known
from goverse.limits import PARK_RETRY_S, PARK_RETRY_S_MAX, TIMEOUT_RETRY_AFTER_S
from goverse.model.keys import ROUTER_KEY_PREFIX


class Miss(Enum):
    """How a send ended without a result."""

    MOVING = auto()  # the node said so: not executed
    UNSENT = auto()  # there was no connection to send it on: not executed
    LOST = auto()  # it was sent, and the connection broke before the answer


class Send(NamedTuple):
    """Send the call to ``route``, as attempt number ``attempt``, under ``idempotency_key``."""

    route: Route
    attempt: int
    idempotency_key: str | None


class Park(NamedTuple):
    """Wait until the route of the shard changes, or until ``until``, then ask again."""

    until: float


class Fail(NamedTuple):
    """Answer the caller with ``error``."""

    error: GoverseError


Step = Send | Park | Fail


class Delivery:
    """One call's way. ``next`` says what to do; ``missed`` takes note of a send that gave no result."""

    __slots__ = (
        "_avoided",
        "_began_at",
        "_deadline",
        "_lost",
        "_pause_s",
        "_retry_at",
        "_sent_to",
        "_under_way",
        "idempotency_key",
    )

    def __init__(
        self, now: float, deadline: float, *, changes: bool, idempotency_key: str | None, router_key: str
    ) -> None:
        """Begin at ``now``; ``router_key`` is for a call that changes something and has no key of its own."""
        self.idempotency_key = idempotency_key
        if changes and idempotency_key is None:
            self.idempotency_key = ROUTER_KEY_PREFIX + router_key
        self._began_at = now
        self._deadline = deadline
        self._lost = 0
        self._under_way = False
        self._sent_to: Route | None = None
        self._avoided: Route | None = None
        self._retry_at = now
        self._pause_s = PARK_RETRY_S

    def next(self, route: Route | None, now: float) -> Step:
        """Return what to do now that the table shows ``route``."""
        if now >= self._deadline:
            return self.expire(route, now)
        if route is None or (route == self._avoided and now < self._retry_at):
            return Park(self._deadline if route is None else min(self._retry_at, self._deadline))
        if route != self._avoided:
            self._pause_s = PARK_RETRY_S
        self._sent_to, self._under_way = route, True
        return Send(route, self._lost, self.idempotency_key)

    def missed(self, miss: Miss, now: float) -> None:
        """Note that the last send gave no result."""
        if miss is Miss.LOST:
            self._lost += 1
        self._avoided, self._under_way = self._sent_to, False
        self._retry_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, PARK_RETRY_S_MAX)

    def expire(self, route: Route | None, now: float) -> Fail:
        """Return what the caller is told at the deadline, whether the call waits here or for its answer."""
        seconds = round(now - self._began_at, 3)
        what = "answer" if self._under_way else "take"
        waited = "no node served the object's shard" if route is None else f"{route.node} did not {what} the call"
        executed = Executed.UNKNOWN if self._lost or self._under_way else Executed.NO
        again = {} if executed is Executed.UNKNOWN else {"retry_after_s": TIMEOUT_RETRY_AFTER_S}
        return Fail(known(Timeout(f"{waited} within {seconds} s", seconds=seconds, **again), executed))
