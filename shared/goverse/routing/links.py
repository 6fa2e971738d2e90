"""The links of a router, one to each node that is registered, and which of them are of no use now.

That is the circuit breaker: a node whose link is broken, or that gives no sign of life, gets no calls; they wait for
it, or for another owner of their shard, without a try each. The link itself goes on trying, and one word of it lets all
of them go on at once.
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

_HANG_UP_S: Final = 1.0


class NodeLink(Carrier, Protocol):
    """A link to one node that somebody has to end, and that tells when it is of use."""

    def watch(self, watcher: Callable[[LinkState], None]) -> Callable[[], None]:
        """Have ``watcher`` called whenever the link's state changes; return what ends that."""
        ...

    async def close(self, drain_timeout_s: float = 0.0) -> None:
        """Hang up."""
        ...


Connect = Callable[[str], NodeLink]
"""Opens a link to the node at an address."""


class Links:
    """Links by address.

    Attributes:
        unreachable: the addresses whose link is of no use now.
        openings: how often a link became of no use.
    """

    def __init__(self, connect: Connect, recovered: Callable[[str], None]) -> None:
        """Know no node yet; ``recovered`` hears of each address that is of use again."""
        self.unreachable: set[str] = set()
        self.openings = 0
        self._connect = connect
        self._recovered = recovered
        self._links: dict[str, NodeLink] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[NodeLink]:
        """Go through all links that there are now."""
        return iter(tuple(self._links.values()))

    def get(self, address: str) -> NodeLink | None:
        """Return the link to ``address``, if there is one."""
        return self._links.get(address)

    def connect(self, present: set[str]) -> None:
        """Have a link to each of these addresses."""
        for address in present - self._links.keys():
            link = self._links[address] = self._connect(address)
            link.watch(partial(self._changed, address, link))

    def let_go(self, present: set[str]) -> None:
        """Hang up everywhere else, once what is under way was answered: the node may only have lost its lease."""
        for address in self._links.keys() - present:
            self._track(self._links.pop(address).close(drain_timeout_s=CALL_TIMEOUT_S))
            self.unreachable.discard(address)

    async def close(self) -> None:
        """Hang up everywhere."""
        for link in self._links.values():
            self._track(link.close())
        self._links.clear()
        if self._closing:
            _, late = await asyncio.wait(tuple(self._closing), timeout=_HANG_UP_S)
            for task in late:
                task.cancel()

    def _changed(self, address: str, link: NodeLink, state: LinkState) -> None:
        if self._links.get(address) is not link:
            return  # it was let go
        if not state.usable:
            self.openings += address not in self.unreachable
            self.unreachable.add(address)
        elif address in self.unreachable:
            self.unreachable.discard(address)
            self._recovered(address)

    def _track(self, closing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def list_at_any(
    links: Sequence[Link], namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
) -> Sequence[ObjectSummary]:
    """Ask any node, since all share one store.

    Raises:
        Unavailable: no node can be reached.
        GoverseError: what the node says.
    """
    refusal: GoverseError = known(Unavailable("no node is there to ask"), Executed.NO)
    for link in links:
        if not link.readiness().ready:
            continue
        try:
            return await link.list(namespace, type_name, prefix=prefix, after=after, limit=limit)
        except Unavailable as error:
            refusal = error
    raise refusal


def readiness_of(links: Sequence[Link], served: int, shards: int) -> Readiness:
    """Tell whether calls are served: some node can be reached, and some shard has an owner.

    A part of the shards without an owner does not make a router unready: all routers see the same, so a balancer would
    take every gate out, and calls to the other shards would fail as well. The part is named in ``reasons``.
    """
    told = [link.readiness() for link in links]
    ready = sum(each.ready for each in told)
    reasons: list[str] = []
    if not told:
        reasons.append("no node is registered")
    elif not ready:
        reasons += dict.fromkeys(reason for each in told for reason in each.reasons)
    elif ready < len(told):
        reasons.append(f"{len(told) - ready} of {len(told)} nodes are not ready")
    if served < shards:
        reasons.append(f"claimed {served} of {shards} shards")
    newest = max((each.commit_seq for each in told), default=0)
    return Readiness(ready > 0 and served > 0, tuple(reasons), newest)
