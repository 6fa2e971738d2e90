"""The link: how a gate, or an object, reaches the node that owns an object.

A link that crosses processes can fail between question and answer. ``Problem.executed`` says what is known about the
request:

* ``NO``: it reached no object, and never will. It may be sent elsewhere at once, whatever it does.
* ``UNKNOWN``: its answer is lost, or its turn ended without effect on the object. It may have been executed, may still
  be, or calls that it made to other objects may have taken effect. It may be sent again only where a second execution
  does no harm: with the same idempotency key, and a higher ``attempt``.

A problem without a verdict is the answer, and final. Links and nodes set the verdict; what an object's own code puts
into an error, a member named ``executed`` included, never becomes one.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from goverse.model.frames import Reply, Request
from goverse.model.records import ObjectSummary


class Readiness(NamedTuple):
    """Whether requests would be served now, and the newest durable position.

    ``reasons`` has a sentence for everything that is missing. A cluster that serves only a part of its shards is ready
    and has reasons all the same.
    """

    ready: bool
    reasons: tuple[str, ...]
    commit_seq: int


class Waiter(Protocol):
    """Where a reply is waited for: a future, or whatever is told of it without a turn of the event loop in between."""

    def done(self) -> bool:
        """Tell whether nobody waits any more: it was told, or gave up."""
        ...

    def set_result(self, result: Reply, /) -> object:
        """Give the reply; only while somebody waits, and never from another thread. It does not raise."""
        ...


class Link(Protocol):
    """Carries requests to objects.

    ``submit`` never raises and the future never carries an exception: whatever goes wrong is in the reply's
    ``problem``.
    Cancelling the future tells the other side that nobody waits: a request that has not begun is dropped, one that runs
    goes on to its end. Replies come after the commit that they depend on.
    """

    def submit(self, request: Request) -> Future[Reply]:
        """Send a request; the future gives its reply."""
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
        """Tell whether requests would be served now."""
        ...


class Carrier(Link, Protocol):
    """A link that tells whoever waits in the moment in which the reply comes: a future costs a turn of the loop more.

    What is said of ``submit`` and its future holds for ``carry`` and its waiter. One that is done before it was told
    gave up, as a future that was cancelled.
    """

    def carry(self, request: Request, waiter: Waiter) -> None:
        """Send a request; ``waiter`` is told of its reply, once, perhaps before this returns."""
        ...
