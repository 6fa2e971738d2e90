"""The connections of a router to every registered node, with a circuit breaker for each.

While a node's link is broken or silent, the node's address is in ``unreachable``. Calls for that node are then parked,
without an attempt for each of them, until the node recovers or their shard gets another owner. The link keeps trying to
reconnect. When it recovers, all parked calls for the node resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, Final, Protocol

from goverse.errors import Executed, GoverseError, Unavailable, known
from goverse.limits import CALL_TIMEOUT_S
from goverse.model.records import ObjectSummary
from goverse.ports.link import Carrier, Link, Readiness
from goverse.wire.link_state import LinkState

_CLOSE_TIMEOUT_S: Final = 1.0


class NodeLink(Carrier, Protocol):
    """A link to one node. Its owner must close it; ``watch`` reports state changes."""

    def watch(self, watcher: Callable[[LinkState], None]) -> Callable[[], None]:
        """Call ``watcher`` on every state change. Returns a function that unsubscribes it."""
        ...

    async def close(self, drain_timeout_s: float = 0.0) -> None:
        """Close the link."""
        ...


Connect = Callable[[str], NodeLink]
"""Opens a link to the node at an address."""


class Links:
    """The links of a router, by address.

    Attributes:
        unreachable: addresses of nodes whose link is broken or silent.
        openings: how many times a node became unreachable, i.e. its circuit opened.
    """

    def __init__(self, connect: Connect, recovered: Callable[[str], None]) -> None:
        """Start without links; ``recovered`` is called with each address that becomes reachable again."""
        self.unreachable: set[str] = set()
        self.openings = 0
        self._connect = connect
        self._recovered = recovered
        self._links: dict[str, NodeLink] = {}
        self._closing: dict[asyncio.Task[None], None] = {}

    def __iter__(self) -> Iterator[NodeLink]:
        """Iterate over the current links."""
        return iter(tuple(self._links.values()))

    def get(self, address: str) -> NodeLink | None:
        """Return the link to ``address``, or None."""
        return self._links.get(address)

    def connect(self, present: set[str]) -> None:
        """Open a link to each of the ``present`` addresses that has none."""
        for address in sorted(present - self._links.keys()):
            link = self._links[address] = self._connect(address)
            link.watch(partial(self._changed, address, link))

    def close_absent(self, present: set[str]) -> None:
        """Close all other links. Running calls may finish: a node that lost its lease can still be alive."""
        for address in sorted(self._links.keys() - present):
            self._track(self._links.pop(address).close(drain_timeout_s=CALL_TIMEOUT_S))
            self.unreachable.discard(address)

    async def close(self) -> None:
        """Close all links."""
        for link in self._links.values():
            self._track(link.close())
        self._links.clear()
        if self._closing:
            await asyncio.wait(tuple(self._closing), timeout=_CLOSE_TIMEOUT_S)
            for task in tuple(self._closing):
                task.cancel()

    def _changed(self, address: str, link: NodeLink, state: LinkState) -> None:
        if self._links.get(address) is not link:
            return  # the link was closed
        if not state.usable:
            self.openings += address not in self.unreachable
            self.unreachable.add(address)
        elif address in self.unreachable:
            self.unreachable.discard(address)
            self._recovered(address)

    def _track(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(closing)
        self._closing[task] = None
        task.add_done_callback(self._closing.pop)


async def list_at_any(
    links: Sequence[Link], namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
) -> Sequence[ObjectSummary]:
    """List objects at the first node that answers; all nodes share one store.

    Raises:
        Unavailable: no node is reachable.
        GoverseError: the node's error.
    """
    refusal: GoverseError = known(Unavailable("no node is reachable"), Executed.NO)
    for link in links:
        if not link.readiness().ready:
            continue
        try:
            return await link.list(namespace, type_name, prefix=prefix, after=after, limit=limit)
        except Unavailable as error:
            refusal = error
    raise refusal


def readiness_of(links: Sequence[Link], served: int, shards: int) -> Readiness:
    """Return whether calls are served: at least one node is reachable and at least one shard has an owner.

    Shards without an owner do not make a router unready. All routers see the same shards, so a load balancer would take
    every gate out of service, and calls to the other shards would fail as well. ``reasons`` names the missing part.
    """
    reports = [link.readiness() for link in links]
    ready = sum(each.ready for each in reports)
    reasons: list[str] = []
    if not reports:
        reasons.append("no node is registered")
    elif not ready:
        reasons += dict.fromkeys(reason for each in reports for reason in each.reasons)
    elif ready < len(reports):
        reasons.append(f"{len(reports) - ready} of {len(reports)} nodes are not ready")
    if served < shards:
        reasons.append(f"claimed {served} of {shards} shards")
    newest = max((each.commit_seq for each in reports), default=0)
    return Readiness(ready > 0 and served > 0, tuple(reasons), newest)
