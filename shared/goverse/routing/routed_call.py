"""One call on its way through a router, which knows how to try again.

It is what a link tells of the reply to each try, so the first one costs nothing beyond it. Only a call that met a
problem gets a ``Delivery``, whose rules say whether it is sent again, where, and as which attempt
(``goverse.cluster.delivery``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from goverse.cluster.delivery import Delivery, Miss
from goverse.cluster.table import Route
from goverse.errors import Executed, Unavailable, known
from goverse.limits import RELEASE_RETRY_AFTER_S
from goverse.model.frames import Problem, Reply, Request
from goverse.ports.link import Waiter

if TYPE_CHECKING:
    from goverse.routing.router import Router


_FINAL: Final = ("timeout", "overloaded")
"""No time is left for another try; and whoever has too much to do is not helped by being asked again."""


_UNKNOWN: Final = ("unknown_type", "unknown_method")
"""Whoever routes a call knows the type and the method; a node that does not is of another release, for a while."""


class RoutedCall:
    """Waits for what links say of one request, until a node gives its reply.

    Attributes:
        request: as it is sent next.
        shard: the object's.
        route: where it was sent last.
        delivery: the rules of trying again; None while the first try is under way.
    """

    __slots__ = ("_router", "_waiter", "began_at", "delivery", "request", "route", "shard")

    def __init__(self, router: Router, request: Request, shard: int, waiter: Waiter, now: float) -> None:
        """Begin with a request that was not sent yet; ``waiter`` is told of its reply."""
        self.request = request
        self.shard = shard
        self.began_at = now
        self.delivery: Delivery | None = None
        self.route: Route | None = None
        self._router = router
        self._waiter = waiter

    def done(self) -> bool:
        """Tell whether nobody waits any more."""
        return self._waiter.done()

    def set_result(self, reply: Reply, /) -> None:
        """Take what a link says of the last try: the reply, or a problem that another try may get around.

        A problem is looked at in the next turn of the loop, since a link may refuse while it is being asked.
        """
        if reply.problem is None:
            self._waiter.set_result(reply)
        else:
            asyncio.get_running_loop().call_soon(self._go_around, reply, reply.problem)

    def answer(self, reply: Reply) -> None:
        """Give the reply, unless nobody waits for it."""
        if not self._waiter.done():
            self._waiter.set_result(reply)

    def _go_around(self, reply: Reply, problem: Problem) -> None:
        if self.done():
            return
        miss = miss_of(problem)
        if miss is not None:
            self._router.missed(self, miss)
            return
        if problem.code in _UNKNOWN and self._router.is_elsewhere(self.route):
            reply = Reply(problem=_of_another_release(problem, self.request))
        self._waiter.set_result(reply)


def miss_of(problem: Problem) -> Miss | None:
    """Return how a send ended without a result; None where the problem is the answer.

    What no retry can mend is the answer, whatever is known about it: a request or a reply that is too large for a
    message would only be refused again.
    """
    if problem.executed is None or not problem.retryable or problem.code in _FINAL:
        return None
    if problem.executed is Executed.UNKNOWN:
        return Miss.LOST
    return Miss.MOVING if problem.code == "moving" else Miss.UNSENT


def delivery_of(call: RoutedCall, sent_to: Route | None) -> Delivery:
    """Return the rules for a call whose first try went to ``sent_to``, or that found no owner to go to."""
    request = call.request
    # What has no key by now is a READ, and may be sent again without one
    delivery = Delivery(
        call.began_at, request.deadline, changes=False, idempotency_key=request.idempotency_key, router_key=""
    )
    if sent_to is not None:
        delivery.next(sent_to, call.began_at)
    return delivery


def _of_another_release(problem: Problem, request: Request) -> Problem:
    error = Unavailable(
        f"the node that serves the object does not know its type or method yet ({problem.detail}); nodes of two "
        "releases are there, try again",
        retry_after_s=RELEASE_RETRY_AFTER_S,
    )
    return Problem.of(known(error, Executed.NO), request.request_id)
