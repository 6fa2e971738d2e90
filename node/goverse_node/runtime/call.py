"""A request inside a node, with the waiter for its reply and the followers that sent the same idempotency key."""

from __future__ import annotations

import asyncio
import logging

from goverse.errors import GoverseError, Moving, Timeout
from goverse.model.effects import Effects
from goverse.model.frames import Problem, Reply, Request
from goverse.model.keys import scoped_key
from goverse.objects.spec import MethodSpec
from goverse.ports.link import Waiter
from goverse_node.runtime.pair import Pair
from goverse_node.runtime.stats import NodeStats

logger = logging.getLogger("goverse.node")


class Call:
    """A request and the waiter for its reply. It is answered once; later answers are dropped.

    The first call with an idempotency key is the leader. Calls with the same key that arrive before it is answered are
    its followers: they do not run, and receive the leader's reply.

    Attributes:
        waiter: receives the reply.
        created_for: the instance that was created for this call. The call's ``if_match`` held before the creation and
            is not checked again. None if a follower with another ``if_match`` took the caller's place.
        fingerprint: hash of method and body; calls with the same idempotency key must agree in it.
        leads: the table of leaders in which this call is registered, or None.
        followers: the calls that wait for the reply of this one, in the order of arrival, or None.
        leader: the call for whose reply this one waits instead of running, or None.
        reliable: the pair of a call that delivers a reliable one, or the effects that the commit of the call concludes.
        leads_as: its key there: the idempotency key in the scope of the caller's subject. Empty while it does not lead.
    """

    __slots__ = (
        "answered",
        "created_for",
        "fingerprint",
        "followers",
        "leader",
        "leads",
        "leads_as",
        "method",
        "readonly",
        "reliable",
        "request",
        "stats",
        "waiter",
    )

    def __init__(self, request: Request, waiter: Waiter, stats: NodeStats) -> None:
        """Count the request as in flight until it is answered."""
        self.request = request
        self.waiter = waiter
        self.stats = stats
        self.method: MethodSpec | None = None
        self.readonly = False
        self.answered = False
        self.created_for: object | None = None
        self.fingerprint = b""
        self.leads: dict[str, Call] | None = None
        self.leads_as = ""
        self.followers: dict[Call, None] | None = None
        self.leader: Call | None = None
        self.reliable: Pair | Effects | None = None
        stats.inflight += 1

    @property
    def pointless(self) -> bool:
        """True if neither the caller nor a follower waits for the reply any more."""
        return self.answered or (not self.followers and self.waiter.done())

    def lead(self, calls: dict[str, Call], key: str) -> None:
        """Register this call in ``calls`` as the leader for ``key``, until it is answered."""
        calls[key] = self
        self.leads = calls
        self.leads_as = key

    def scoped(self, idempotency_key: str) -> str:
        """Return the key of this call in the scope of its caller's subject, as the store keeps it."""
        return scoped_key(idempotency_key, self.request.caller.subject)

    def follow(self, leader: Call) -> None:
        """Wait for the reply of ``leader``, which has the same idempotency key, instead of running.

        The followers of this call, which may have led in an activation that is gone, follow ``leader`` too.
        """
        if self.leads is not None:
            self.leads.pop(self.leads_as, None)
            self.leads, self.leads_as = None, ""
        if leader.followers is None:
            leader.followers = {}
        for call in (self, *(self.followers or ())):
            call.leader = leader
            leader.followers[call] = None
        self.followers = None

    def give_up(self, error: GoverseError | None = None) -> None:
        """Refuse this call alone, or drop it if its client is gone. Its leader forgets it, and with it its body."""
        leader, self.leader = self.leader, None
        if leader is not None and leader.followers is not None:
            leader.followers.pop(self, None)
        self.answer(Reply(problem=None if error is None else Problem.of(error, self.request.request_id)))

    def promote_follower(self, error: GoverseError, now: float) -> bool:
        """Refuse this caller with ``error`` and let the follower with the latest deadline take its place.

        The error is delivered with ``call_soon``. Delivering it now would run the waiter's code, which could start
        other calls between the promotion and the turn that is about to start.

        Returns:
            False if no follower has a deadline after ``now``; the call is then unchanged.
        """
        waiting = [one for one in self.followers or () if not one.pointless and one.request.deadline > now]
        if not waiting or self.followers is None:
            return False
        follower = max(waiting, key=lambda one: one.request.deadline)
        del self.followers[follower]
        refusal = Reply(problem=Problem.of(error, self.request.request_id))
        asyncio.get_running_loop().call_soon(_deliver, self.waiter, refusal)
        if follower.request.if_match != self.request.if_match:
            self.created_for = None
        self.waiter, self.request = follower.waiter, follower.request
        follower.answered, follower.leader = True, None
        follower.stats.inflight -= 1
        return True

    def expire(self, now: float) -> bool:
        """Refuse the call, whose deadline passed before its turn began.

        Returns:
            True if the call was refused. False if a follower with a later deadline took its place, so that the call
            still has a waiter.
        """
        self.stats.count_timeout("queue")
        error = Timeout(
            f"{self.request.key} was busy until the deadline; the call did not start",
            operation=self.request.method or self.request.operation.name.lower(),
            object=str(self.request.key),
        )
        if self.promote_follower(error, now):
            return False
        self.refuse(error)
        return True

    def answer(self, reply: Reply) -> None:
        """Deliver the reply to the caller and to all followers.

        A follower's reply is marked as replayed if the node keeps it under the idempotency key, that is, if it is a
        result or a business error.
        """
        if self.answered:
            return
        self.answered = True
        self.stats.inflight -= 1
        if self.leads is not None:
            self.leads.pop(self.leads_as, None)
        _deliver(self.waiter, reply)
        if self.followers:
            kept = reply.problem is None or reply.problem.status is not None
            followers, self.followers = self.followers, None
            for follower in followers:
                follower.leader = None
                follower.stats.deduplicated += 1
                follower.answer(
                    Reply(
                        reply.body,
                        reply.version,
                        reply.commit_seq,
                        reply.created,
                        replayed=kept,
                        problem=reply.problem,
                    )
                )

    def refuse(self, error: GoverseError) -> None:
        """Answer with an error."""
        self.stats.moving += isinstance(error, Moving)
        self.answer(Reply(problem=Problem.of(error, self.request.request_id)))


def origin_of(request: Request, reliable: Pair | Effects | None) -> str | None:
    """Return the key from which the idempotency keys of nested calls are derived, or None.

    It is the same in every attempt: the idempotency key of the call, or the number of the reliable call that the turn
    runs or concludes. A client's key has no null character.
    """
    if request.delivery is not None:
        return "\x00".join(("delivery", *request.delivery.sender, str(request.delivery.number)))
    if isinstance(reliable, Effects) and reliable.removes:
        return "\x00".join(("outcome", *map(str, reliable.removes)))
    return request.idempotency_key


def _deliver(waiter: Waiter, reply: Reply) -> None:
    """Deliver a reply. An exception in a waiter is logged, so that followers and other turns get their replies."""
    try:
        if not waiter.done():
            waiter.set_result(reply)
    except Exception:
        logger.exception("a reply could not be delivered to its waiter")
