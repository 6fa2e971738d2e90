"""The link: the way from a gate, or from an object, to the node that owns an object.

A link between processes can fail between request and reply. ``Problem.executed`` records what is known about the
request:

* ``NO``: it reached no object and never will. It is always safe to send it again, to any node.
* ``UNKNOWN``: its reply is lost, or its turn ended without changing the object. It may have run, may still be running,
  or calls that it made to other objects may have taken effect. Send it again only with the same idempotency key and a
  higher ``attempt``, so that a second run has no second effect.

A problem without ``executed`` is the final reply. Only links and nodes set ``executed``: an error that an object's own
code raises never becomes such a verdict, even if it has a member of that name.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from goverse.model.frames import Reply, Request
from goverse.model.records import ObjectSummary


class Readiness(NamedTuple):
    """A node's or cluster's ability to serve requests now, and its newest durable position.

    ``reasons`` holds one sentence for everything that is missing. A cluster that serves only some of its shards is
    ready and still lists reasons.
    """

    ready: bool
    reasons: tuple[str, ...]
    commit_seq: int


class Waiter(Protocol):
    """The receiver of one reply: a future, or an object that is called directly, without a turn of the event loop."""

    def done(self) -> bool:
        """True once the reply was delivered or the caller gave up."""
        ...

    def set_result(self, result: Reply, /) -> object:
        """Deliver the reply. Call it only while ``done`` is False, from the event loop's thread. It does not raise."""
        ...


class Link(Protocol):
    """Carries requests to objects.

    ``submit`` never raises and its future never holds an exception: every failure is in the reply's ``problem``.
    Cancelling the future tells the other side that the reply is no longer wanted: a request that has not started is
    dropped, a running one finishes. Replies arrive after the commit that they depend on.
    """

    def submit(self, request: Request) -> Future[Reply]:
        """Send a request and return a future of its reply."""
        ...

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List objects, as ``Store.list`` does.

        Raises:
            GoverseError: the listing is not possible now.
        """
        ...

    def readiness(self) -> Readiness:
        """Return whether requests would be served now."""
        ...


class Carrier(Link, Protocol):
    """A link that delivers replies by a direct call; a future would cost another turn of the event loop.

    ``carry`` and its waiter keep the rules of ``submit`` and its future. A waiter that is ``done`` before it was called
    counts as cancelled.
    """

    def carry(self, request: Request, waiter: Waiter) -> None:
        """Send a request. Calls ``waiter.set_result`` once, possibly before this method returns."""
        ...
