"""``Router``: the link from a gate, or from an object to other objects, to the node that owns each object.

The router follows the claims in etcd (``follow``), keeps one link to every registered node, and sends each request to
the owner of its shard. A call without an owner is parked until the shard's route changes or its deadline passes. A call
that was provably not executed is sent again; so is one that may be repeated under its idempotency key.

Every call except a READ has such a key: the caller's, or one made here that is unique to this process. Calls of
readonly methods need one because they may start hooks, and calls made by ``on_create`` or ``on_activate`` derive their
keys from it. A request about reliable calls (``CALLS``) needs none, because it can be repeated.

The delivery of a reliable call has no key, because its receiver recognises repetitions by their numbers. Its sender
repeats it, in order with the other calls of its pair. So the router sends a delivery again only if it was provably not
executed, and answers ``unavailable`` otherwise.

A call can end the process that runs it. A plain call that lost three processes is answered with ``suspected_crash``
instead of being sent to a fourth one, unless it is a request about reliable calls, which runs no code of an
application. A delivery that was lost with a process that has ended is not made: its sender
decides (``goverse.routing.processes``).
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Final

from goverse.cluster.parking import Parking
from goverse.cluster.retry_state import Miss, Park, Send
from goverse.cluster.table import Route, ShardTable
from goverse.cluster.view import ClusterView
from goverse.errors import Executed, GoverseError, Overloaded, Unavailable, known
from goverse.limits import PARKED_CALLS_MAX
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.keys import ROUTER_KEY_PREFIX
from goverse.model.receipts import LOST_WITH
from goverse.model.records import ObjectSummary
from goverse.ports.link import Carrier, Link, Readiness, Waiter
from goverse.routing.links import Connect, Links, list_at_any, readiness_of
from goverse.routing.processes import Processes, ended_with
from goverse.routing.routed_call import RoutedCall, retry_state_of
from goverse.routing.stats import RouterStats

_REPEATABLE: Final = (Operation.READ, Operation.CALLS)
_GIVEN_UP_S: Final = 0.25  # a parked call whose caller gave up is removed within this time


class Router:
    """A ``goverse.ports.link.Carrier`` over all nodes of a cluster.

    Attributes:
        table: the route of each shard.
        parking: the calls that wait for an owner.
        own: this process's node with its id; None in a gate.
        links: the links to all registered nodes.
        stats: counters for metrics.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        shard_count: int,
        base: int | None = None,
        incarnation: str,
        own: tuple[str, Carrier] | None = None,
        parked_max: int = PARKED_CALLS_MAX,
    ) -> None:
        """Start without nodes.

        Args:
            connect: opens a link to a node.
            shard_count: number of shards of the cluster.
            base: the number that it was created with, if this process knows it; otherwise it is taken from etcd.
            incarnation: identifies this process; part of the keys that it makes.
            own: this process's node and its id; it is called without a connection.
            parked_max: limit of parked calls; further calls are refused.
        """
        self.table = ShardTable(shard_count, base)
        self.parking: Parking[RoutedCall] = Parking(parked_max)
        self.stats = RouterStats()
        self.links = Links(connect, self._recovered)
        self._unreachable = self.links.unreachable
        self._processes = Processes()
        self.own = own
        self._view: ClusterView | None = None
        self._key_prefix = f"{ROUTER_KEY_PREFIX}{incarnation}-"  # as ``model.keys.router_key``; parsed again there
        self._numbers = count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._served = 0
        self._members_at = (-1, -1)
        self._names: dict[str, str] = {}
        self._present: set[str] = set()
        self._closed = False

    # --- the cluster --------------------------------------------------------------------------------------------------

    def follow(self, view: ClusterView) -> None:
        """Apply a new cluster view: connect to new nodes, drop old ones, and resume calls whose shard has moved."""
        self._view = view
        own = self.own[0] if self.own is not None else None
        if (view.reloads, view.members_revision) != self._members_at:
            self._members_at = view.reloads, view.members_revision
            self._processes.follow(view.nodes)
            self._names = {member.address: node for node, member in view.nodes.items() if node != own}
            self._present = set(self._names)
            self.links.connect(self._present)
        changed = self.table.update(view)
        if changed:
            self._served = sum(route is not None for route in self.table.routes)
        self.links.close_absent(self._present)
        for call in self.parking.moved(changed):
            self._resume(call)

    def name_of(self, address: str) -> str:
        """Return the id of the node registered at ``address``, or ""."""
        return self._names.get(address, "")

    def _recovered(self, address: str) -> None:
        """Resume the calls parked for a node that is reachable again."""
        routes = self.table.routes
        shards = [shard for shard in self.parking.shards() if (at := routes[shard]) and at.address == address]
        for call in self.parking.moved(shards):
            self._resume(call)

    async def close(self) -> None:
        """Refuse all parked calls and close all links."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for call in self.parking.moved(range(len(self.table))):
            self._fail(call, _shutting_down())
        await self.links.close()

    # --- Link ---------------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> Future[Reply]:
        """Send a request to the owner of its object; see ``goverse.ports.link.Link``."""
        future: Future[Reply] = asyncio.get_running_loop().create_future()
        self.carry(request, future)
        return future

    def carry(self, request: Request, waiter: Waiter) -> None:
        """Send a request to the owner of its object; see ``goverse.ports.link.Carrier``."""
        try:
            shard = self.table.shard_of(request.key)
        except GoverseError as error:
            waiter.set_result(Reply(problem=Problem.of(error, request.request_id)))
            return
        if request.idempotency_key is None and request.operation not in _REPEATABLE and request.delivery is None:
            request.idempotency_key = f"{self._key_prefix}{next(self._numbers):x}"
            request.fresh_key = True
        call = RoutedCall(self, request, shard, waiter, asyncio.get_running_loop().time())
        route, delivery = self.table.routes[shard], request.delivery
        if route is None or route.address in self._unreachable or (delivery is not None and delivery.lost_with):
            self._take_next_step(call)
        else:
            self._send(call, route)

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """List objects at any node, because all share one store; see ``goverse.ports.link.Link``.

        Raises:
            Unavailable: no node is reachable.
            GoverseError: the node's error.
        """
        return await list_at_any(self._all_links(), namespace, type_name, prefix=prefix, after=after, limit=limit)

    def readiness(self) -> Readiness:
        """Return whether calls are served; see ``readiness_of``."""
        return readiness_of(self._all_links(), *self.progress())

    def progress(self) -> tuple[int, int]:
        """Return the number of shards with an owner, and of all shards."""
        return self._served, len(self.table)

    def _all_links(self) -> Sequence[Link]:
        return [*([self.own[1]] if self.own is not None else []), *self.links]

    # --- sending ------------------------------------------------------------------------------------------------------

    def _send(self, call: RoutedCall, route: Route) -> None:
        if self.own is not None and route.node == self.own[0]:
            link: Carrier | None = self.own[1]
        else:
            link = self.links.get(route.address)
        if link is None:
            self.missed(call, Miss.UNSENT, route)
        else:
            call.route = route
            link.carry(call.request, call)

    def missed(self, call: RoutedCall, miss: Miss, route: Route | None = None) -> None:
        """Record a send without a result and decide on the next step."""
        self.stats.misses[miss] += 1
        now = asyncio.get_running_loop().time()
        if call.retry_state is None:
            call.retry_state = retry_state_of(call, route or call.route)
        call.retry_state.missed(miss, now)
        if miss is Miss.LOST and call.route is not None and call.request.operation is not Operation.CALLS:
            call.retry_state.lost_with.append(self._processes.at(call.route.node))
        if self._closed:
            self._fail(call, known(Unavailable("the process is shutting down"), Executed.UNKNOWN))
        else:
            self._take_next_step(call)

    def lost(self, call: RoutedCall, problem: Problem) -> Problem:
        """Return the problem of a delivery that was lost, with the process that it was lost with."""
        self.stats.misses[Miss.LOST] += 1
        if call.route is None:
            return problem
        return replace(problem, extra={LOST_WITH: self._processes.at(call.route.node)})

    def _crash_of(self, call: RoutedCall) -> GoverseError | None:
        """Return the error of a call that may have ended the processes that had it, or None if it may be sent."""
        delivery = call.request.delivery
        if delivery is not None and delivery.lost_with:
            return ended_with(delivery.lost_with) if self._processes.has_ended(delivery.lost_with) else None
        return self._processes.refusal(call.retry_state.lost_with) if call.retry_state is not None else None

    def _take_next_step(self, call: RoutedCall) -> None:
        now = asyncio.get_running_loop().time()
        if call.retry_state is None:
            call.retry_state = retry_state_of(call, None)
        route = self.table.routes[call.shard]
        if route is not None and route.address in self._unreachable and now < call.request.deadline:
            self.stats.held += 1
            self._park(call, call.request.deadline)
            return
        step = call.retry_state.next(route, now)
        if isinstance(step, Send) and (crash := self._crash_of(call)) is not None:
            self._fail(call, crash)
        elif isinstance(step, Send):
            call.request.attempt = step.attempt
            call.request.fresh_key = call.request.fresh_key and not step.attempt
            self.stats.forwards += call.route is not None and call.route.node != step.route.node
            self._send(call, step.route)
        elif isinstance(step, Park):
            self._park(call, step.until)
        else:
            self._fail(call, step.error if call.request.delivery is None else _as_refusal(step.error))

    def _park(self, call: RoutedCall, until: float) -> None:
        if self._closed:
            self._fail(call, _shutting_down())
            return
        try:
            self.parking.park(call, call.shard, until)
        except Overloaded as error:
            self.stats.refused += 1
            self._fail(call, error)
            return
        self.stats.parked += 1
        self._arm(min(until, asyncio.get_running_loop().time() + _GIVEN_UP_S))

    def _resume(self, call: RoutedCall) -> None:
        if not call.done():
            self._take_next_step(call)

    def is_elsewhere(self, route: Route | None) -> bool:
        """True if the route leads to another process."""
        return route is not None and (self.own is None or route.node != self.own[0])

    def is_exported(self, type_name: str, method: str) -> bool:
        """True if a registered node exports the method, or has published no types that this release can read."""
        view = self._view
        if view is None:
            return True
        for node in view.nodes:
            catalog = view.catalogs.get(node)
            described = None if catalog is None else catalog.get(type_name)
            if catalog is None or (described and (method in described.methods or method in described.handlers)):
                return True
        return False

    def _fail(self, call: RoutedCall, error: GoverseError) -> None:
        call.answer(Reply(problem=Problem.of(error, call.request.request_id)))

    def _arm(self, at: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = loop.call_at(at, self._resume_due)

    def _resume_due(self) -> None:
        """Resume the calls whose time has come, and drop those whose caller has given up."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        for call in self.parking.due(now):
            self._resume(call)
        self.parking.forget(RoutedCall.done)
        at = self.parking.next_at()
        if at is not None:
            self._arm(min(at, now + _GIVEN_UP_S))


def _as_refusal(error: GoverseError) -> GoverseError:
    """Return the error for a delivery that reached no owner before its deadline: to its sender, that is no attempt."""
    return known(Unavailable(f"{error.detail}; the call was not delivered"), Executed.NO)


def _shutting_down() -> GoverseError:
    return known(Unavailable("the process is shutting down; the call was not sent"), Executed.NO)
