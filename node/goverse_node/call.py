"""One request inside a node, and the caller's wait for its answer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from goverse.errors import GoverseError, Moving
from goverse.model.frames import Problem, Reply, Request
from goverse.objects.spec import MethodSpec
from goverse.ports.link import Waiter
from goverse_node.stats import NodeStats

if TYPE_CHECKING:
    from goverse_node.instance import Instance


logger = logging.getLogger("goverse.node")


class Call:
    """A request and who waits for its reply. Answered exactly once; later answers are dropped.

    Attributes:
        waiter: is told of the reply.
        created_for: the object that was created for this call: its condition held before, and is not asked again.
    """

    __slots__ = (
        "answered",
        "created_for",
        "followers",
        "leads",
        "method",
        "print",
        "readonly",
        "request",
        "stats",
        "waiter",
    )

    def __init__(self, request: Request, waiter: Waiter, stats: NodeStats) -> None:
        """Take a request in."""
        self.request = request
        self.waiter = waiter
        self.stats = stats
        self.method: MethodSpec | None = None
        self.readonly = False
        self.answered = False
        self.created_for: Instance | None = None
        self.print = b""
        self.leads: dict[str, Call] | None = None
        self.followers: list[Call] | None = None
        stats.inflight += 1

    @property
    def pointless(self) -> bool:
        """Whether nobody waits any more, neither this caller nor one with the same idempotency key."""
        return self.answered or (not self.followers and self.waiter.done())

    @property
    def follows(self) -> bool:
        """Whether it waits for an equal call instead of its own turn."""
        return self.leads is None and self.request.idempotency_key is not None and not self.readonly

    def lead(self, calls: dict[str, Call]) -> None:
        """Stand in ``calls`` under the idempotency key until answered."""
        if self.request.idempotency_key is not None:
            calls[self.request.idempotency_key] = self
            self.leads = calls

    def follow(self, leader: Call) -> None:
        """Wait for the answer of an equal request instead of running a second time."""
        if leader.followers is None:
            leader.followers = []
        leader.followers.append(self)

    def make_way(self, error: GoverseError, now: float) -> bool:
        """Refuse this caller alone and promote the follower that may wait longest.

        The caller gets its answer in the next iteration of the loop: the place is about to be used, and no other call
        may come in between.

        Returns:
            False, and nothing is done, if no follower has a later deadline than ``now``.
        """
        waiting = [one for one in self.followers or () if not one.pointless and one.request.deadline > now]
        if not waiting or self.followers is None:
            return False
        follower = max(waiting, key=lambda one: one.request.deadline)
        self.followers.remove(follower)
        refusal = Reply(problem=Problem.of(error, self.request.request_id))
        asyncio.get_running_loop().call_soon(_tell, self.waiter, refusal)
        self.waiter, self.request = follower.waiter, follower.request
        follower.answered = True
        follower.stats.inflight -= 1
        return True

    def answer(self, reply: Reply) -> None:
        """Deliver the reply to the caller and to all followers.

        A follower's reply is marked as replayed if it is one that is kept: a result or a business error.
        """
        if self.answered:
            return
        self.answered = True
        self.stats.inflight -= 1
        if self.leads is not None and self.request.idempotency_key is not None:
            self.leads.pop(self.request.idempotency_key, None)
        _tell(self.waiter, reply)
        if self.followers:
            kept = reply.problem is None or reply.problem.status is not None
            for follower in self.followers:
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


def _tell(waiter: Waiter, reply: Reply) -> None:
    """Deliver a reply. A waiter that raises is logged: it must not keep followers or other turns from their replies."""
    try:
        if not waiter.done():
            waiter.set_result(reply)
    except Exception:
        logger.exception("a reply could not be delivered to its waiter")
