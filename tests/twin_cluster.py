"""A cluster in one process: real nodes, keepers and routers over an in-memory etcd and store.

A node either is killed (``kill``: it stops answering, and its lease expires) or shuts down in order.
"""

from __future__ import annotations

import asyncio
import itertools
from asyncio import Future
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from goverse.cluster.keys import KeyLayout
from goverse.cluster.member import Member
from goverse.errors import Executed, Unavailable
from goverse.model.frames import Operation, Problem, Reply, Request
from goverse.model.records import ObjectSummary
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse.ports.clock import SystemClock, boot_time
from goverse.ports.link import Readiness, Waiter
from goverse.ports.memory_coordinator import MemoryCoordinator
from goverse.ports.memory_keys import MemoryKeys
from goverse.routing.cluster_watch import ClusterWatch
from goverse.routing.router import Router
from goverse.wire.link_state import LinkPhase, LinkState
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from goverse_node.ownership.keeper import Keeper
from goverse_node.ownership.leader import LeaderLimits
from goverse_node.ownership.phases import OwnershipLimits
from goverse_node.ownership.shutdown import Shutdown
from goverse_node.stores.memory import MemoryStore
from tests.nodes import key_of, until

SHARDS = 16
LEASE_TTL_S = 1.0

_incarnations = itertools.count(1)
_requests = itertools.count(1)


class Leg:
    """Waits for the reply of a node that may be killed or isolated before it replies.

    A broken leg delivers no reply. A live node notices it, as it notices the end of a stream, and drops requests that
    it has not started. A killed node continues without noticing, and must do no damage.
    """

    def __init__(self, host: Host, waiter: Waiter) -> None:
        self._host = host
        self._waiter = waiter
        self._over = False
        self._broken = False

    def done(self) -> bool:
        return not self._host.dead if self._broken else self._over or self._waiter.done()

    def set_result(self, reply: Reply, /) -> None:
        if not self._host.dead and not self._over:
            self._over = True
            self._waiter.set_result(reply)

    def break_off(self) -> None:
        """Break the connection."""
        if not self._over and not self._waiter.done():
            self._over = self._broken = True
            self._waiter.set_result(_broken(Executed.UNKNOWN))


class Wire:
    """A link to a node of the same process that breaks when the node is killed."""

    def __init__(self, cluster: TwinCluster, address: str) -> None:
        self._cluster = cluster
        self._address = address
        self._open: set[Future[Reply]] = set()

    def submit(self, request: Request) -> Future[Reply]:
        answer: Future[Reply] = asyncio.get_running_loop().create_future()
        self.carry(request, answer)
        return answer

    def carry(self, request: Request, waiter: Waiter) -> None:
        host = self._cluster.hosts.get(self._address)
        if host is None or host.dead:
            waiter.set_result(_broken(Executed.NO))
            return
        leg = Leg(host, waiter)
        host.legs.append(leg)
        host.node.carry(request, leg)

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        host = self._cluster.hosts.get(self._address)
        if host is None or host.dead:
            raise Unavailable
        return await host.node.list(namespace, type_name, prefix=prefix, after=after, limit=limit)

    def readiness(self) -> Readiness:
        host = self._cluster.hosts.get(self._address)
        if host is None or host.dead:
            return Readiness(False, ("the node is dead",), 0)
        return host.node.readiness()

    def watch(self, watcher: Callable[[LinkState], None]) -> Callable[[], None]:
        watchers = self._cluster.watchers.setdefault(self._address, [])
        watchers.append(watcher)
        return lambda: watchers.remove(watcher)

    async def close(self, drain_timeout_s: float = 0.0) -> None:
        del drain_timeout_s


def _broken(executed: Executed) -> Reply:
    return Reply(problem=Problem("unavailable", "the connection broke", True, executed=executed))


class Host:
    """The process of one node."""

    def __init__(self, cluster: TwinCluster, name: str, registry: Registry | None = None) -> None:
        """Serve the types of ``registry`` and publish them, or serve those of the cluster."""
        incarnation = f"i{next(_incarnations)}"
        self.dead = False
        self.suspended_s = 0.0
        self.legs: list[Leg] = []
        self.coordinator = MemoryCoordinator(cluster.keys)
        self.watch = ClusterWatch(self.coordinator, cluster.layout)
        member = Member(name, name, incarnation)
        self.base = cluster.base
        self.router: Router = Router(cluster.connect, shard_count=SHARDS, base=cluster.base, incarnation=incarnation)
        self.watch.add(self.router.follow)
        self.keeper = Keeper(
            member,
            self.watch,
            self.coordinator,
            cluster.store,
            table=self.router.table,
            lease_ttl_s=cluster.lease_ttl_s,
            catalog=describe(registry) if registry is not None else None,
            limits=cluster.limits,
            now=self.clock,
            leader_limits=LeaderLimits(gather_s=0.05, plan_pause_s=0.01, load_pause_s=0.1, rejoin_grace_s=0.3),
        )
        options = NodeOptions(node_id=name)
        self.node = Node(registry or cluster.registry, cluster.store, options=options, shard_access=self.keeper)
        self.router.own = (name, self.node)
        self.node.calls = self.router

    async def start(self) -> None:
        await self.watch.start(SHARDS, self.base)
        await self.node.start()
        self.keeper.start(self.node.evacuation, deliverer=self.node.dispatcher)

    def clock(self) -> float:
        """Return the clock of the lease, which also counts the time that the machine was suspended."""
        return boot_time() + self.suspended_s

    def kill(self) -> None:
        """Kill the process: running calls get no reply, and the lease is not refreshed any more."""
        self.dead = True
        self.coordinator.reach.cut()
        self.break_streams()

    def break_streams(self) -> None:
        """Lose the replies of all calls in progress. Later calls are answered."""
        legs, self.legs = self.legs, []
        for leg in legs:
            leg.break_off()

    async def leave(self, how: Shutdown) -> bool:
        left = await self.keeper.leave(how, 5.0)
        await self.stop()
        return left

    async def stop(self) -> None:
        await self.keeper.stop()
        await self.node.stop(0.1)
        await self.watch.stop()
        await self.router.close()
        await self.coordinator.close()


class TwinCluster:
    """Hosts by address, with a router like that of a gate."""

    def __init__(
        self,
        *classes: type[Any],
        limits: OwnershipLimits | None = None,
        lease_ttl_s: float = LEASE_TTL_S,
        store: MemoryStore | None = None,
        base: int = SHARDS,
    ) -> None:
        self.base = base
        self.limits = limits
        self.lease_ttl_s = lease_ttl_s
        self.registry = Registry(classes)
        self.store = store or MemoryStore()
        self.keys = MemoryKeys(SystemClock())
        self.layout = KeyLayout("test")
        self.hosts: dict[str, Host] = {}
        self.watchers: dict[str, list[Callable[[LinkState], None]]] = {}
        self.coordinator = MemoryCoordinator(self.keys)
        self.watch = ClusterWatch(self.coordinator, self.layout)
        self.router = Router(self.connect, shard_count=SHARDS, incarnation="gate")
        self.watch.add(self.router.follow)

    def connect(self, address: str) -> Wire:
        return Wire(self, address)

    async def __aenter__(self) -> TwinCluster:
        await self.store.open()
        await self.watch.start(SHARDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.coordinator.reach.heal()
            await host.stop()
        await self.router.close()
        await self.watch.stop()
        await self.store.close()

    def tell(self, address: str, phase: LinkPhase, *, silent: bool = False) -> None:
        """Let the links to a node report their state."""
        for watcher in tuple(self.watchers.get(address, ())):
            watcher(LinkState(phase, 0.0, silent=silent))

    async def join(self, *names: str, serves: Sequence[type[Any]] = ()) -> None:
        """Start nodes. ``serves`` are their types, as those of another release, if they are not the cluster's."""
        for name in names:
            self.hosts[name] = Host(self, name, Registry(serves) if serves else None)
            await self.hosts[name].start()

    async def served(self, *names: str) -> None:
        """Wait until exactly these nodes serve all shards, each at least one."""
        await until(lambda: None not in self.owners() and set(self.owners()) == set(names))

    def owners(self) -> list[str | None]:
        return [route.node if route is not None else None for route in self.router.table.routes]

    def call(self, target: type[Any] | str, object_id: str, method: str, /, **arguments: Any) -> Future[Reply]:
        return self.router.submit(self.request(target, object_id, method, **arguments))

    def request(
        self, target: type[Any] | str, object_id: str, method: str, /, *, timeout_s: float = 10.0, **arguments: Any
    ) -> Request:
        key, trace = arguments.pop("key", None), arguments.pop("trace", "")
        return Request(
            Operation.CALL,
            key_of(target, object_id),
            method,
            orjson.dumps(arguments) if arguments else b"",
            asyncio.get_running_loop().time() + timeout_s,
            f"r{next(_requests)}",
            key,
            traceparent=trace,
        )
