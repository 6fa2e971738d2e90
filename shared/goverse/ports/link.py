"""The link: how a gate, or an object, reaches the node that owns an object."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from goverse.model.frames import Reply, Request
from goverse.model.records import ObjectSummary


class Readiness(NamedTuple):
    """Whether requests would be served now; ``reasons`` says why not, one sentence each; the newest durable
    position."""

    ready: bool
    reasons: tuple[str, ...]
    commit_seq: int


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
