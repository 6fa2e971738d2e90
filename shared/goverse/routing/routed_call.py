"""One call inside a router, with its retries.

A link delivers the reply of each attempt to the ``RoutedCall``, so the first attempt needs no further object. Only a
call that met a problem gets a ``RetryState``, whose rules decide whether it is sent again, to which node, and with
which attempt number (``goverse.cluster.retry_state``). The delivery of a reliable call is not sent again if it may have
been executed; its sender repeats it. It waits for a node with another release only if a node of the cluster exports its
method. Otherwise a misspelt name would keep it waiting until it expires.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final, Protocol

from goverse.cluster.retry_state import Miss, RetryState
from goverse.cluster.table import Route
from goverse.errors import Executed, Unavailable, known
from goverse.limits import RELEASE_RETRY_AFTER_S
from goverse.model.frames import Problem, Reply, Request
from goverse.ports.link import Waiter

_FINAL: Final = ("timeout", "overloaded")
"""Problems that are never retried: no time is left, or a retry would add to the overload."""


_UNKNOWN: Final = ("unknown_type", "unknown_method")
"""Problems of a node with another release: the gate or node that routes the call knows the type and the method."""


class Retries(Protocol):
    """The router, as a call sees it."""

    def missed(self, call: RoutedCall, miss: Miss, /) -> None:
        """Record a send without a result and decide on the next step."""
        ...

    def lost(self, call: RoutedCall, problem: Problem, /) -> Problem:
        """Return the problem of a delivery that was lost, with the process that it was lost with."""
        ...

    def is_elsewhere(self, route: Route | None, /) -> bool:
        """True if the route leads to another process."""
        ...

    def is_exported(self, type_name: str, method: str, /) -> bool:
        """True if a node of the cluster exports the method, or its types are not known yet."""
        ...


class RoutedCall:
    """The waiter of one request: it receives replies from links until one is final.

    Attributes:
        request: the request as it is sent next.
        shard: the shard of the object.
        route: the route of the last send.
        retry_state: its sends so far; None during the first attempt.
    """

    __slots__ = ("_retries", "_waiter", "began_at", "request", "retry_state", "route", "shard")

    def __init__(self, retries: Retries, request: Request, shard: int, waiter: Waiter, now: float) -> None:
        """Start with a request that was not sent yet; ``waiter`` gets the final reply."""
        self.request = request
        self.shard = shard
        self.began_at = now
        self.retry_state: RetryState | None = None
        self.route: Route | None = None
        self._retries = retries
        self._waiter = waiter

    def done(self) -> bool:
        """True once the caller was answered or gave up."""
        return self._waiter.done()

    def set_result(self, reply: Reply, /) -> None:
        """Take the reply of the last attempt: deliver it, or retry if its problem allows that.

        Problems are handled in the next turn of the event loop, because a link may refuse a request inside ``carry``.
        """
        if reply.problem is None:
            self._waiter.set_result(reply)
        else:
            asyncio.get_running_loop().call_soon(self._handle_problem, reply, reply.problem)

    def answer(self, reply: Reply) -> None:
        """Deliver the reply if the caller still waits."""
        if not self._waiter.done():
            self._waiter.set_result(reply)

    def _handle_problem(self, reply: Reply, problem: Problem) -> None:
        if self.done():
            return
        miss = miss_of(problem)
        if miss is Miss.LOST and self.request.delivery is not None:
            self._waiter.set_result(replace(reply, problem=self._retries.lost(self, problem)))
            return
        if miss is not None:
            self._retries.missed(self, miss)
            return
        if problem.executed is Executed.NO and self.request.attempt:
            # The verdict is about the last attempt; an earlier one was sent and not answered
            reply = replace(reply, problem=replace(problem, executed=Executed.UNKNOWN))
        if problem.code in _UNKNOWN and self._awaits_release(problem):
            reply = Reply(problem=_of_another_release(problem, self.request))
        self._waiter.set_result(reply)

    def _awaits_release(self, problem: Problem) -> bool:
        """True if nodes with another release may serve the call, so that it can succeed later."""
        request = self.request
        if request.delivery is None or problem.code == "unknown_type":
            return self._retries.is_elsewhere(self.route)
        return self._retries.is_exported(request.key.type, request.method)


def miss_of(problem: Problem) -> Miss | None:
    """Return how a send failed, or None if the problem is the final answer.

    A problem that no retry can fix is final even if ``executed`` is set. A request or reply that is too large for a
    message, for example, would only be refused again.
    """
    if problem.executed is None or not problem.retryable or problem.code in _FINAL:
        return None
    if problem.executed is Executed.UNKNOWN:
        return Miss.LOST
    return Miss.MOVING if problem.code == "moving" else Miss.UNSENT


def retry_state_of(call: RoutedCall, sent_to: Route | None) -> RetryState:
    """Return the retry state of a call whose first attempt went to ``sent_to``, or found no owner."""
    # Every call except READ and CALLS has a key by now, and these two may be repeated without one
    retry_state = RetryState(call.began_at, call.request.deadline)
    if sent_to is not None:
        retry_state.next(sent_to, call.began_at)
    return retry_state


def _of_another_release(problem: Problem, request: Request) -> Problem:
    error = Unavailable(
        f"the node does not know the object's type or method yet ({problem.detail}); an upgrade is in progress and "
        "nodes run different releases, retry later",
        retry_after_s=RELEASE_RETRY_AFTER_S,
    )
    return Problem.of(known(error, Executed.NO), request.request_id)
