"""The processes of a simulated cluster: gates and nodes, made of the product's own parts.

A process has several lives. Each life has a new incarnation and builds all its parts again; only what is in etcd and in
the store survives. The parts are put together as ``goverse_cli.cluster.node`` and ``goverse_cli.cluster.gate`` do it;
the clock, the streams, etcd and the store are simulated.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from goverse.cluster.member import Member
from goverse.errors import GoverseError, Unavailable
from goverse.model.frames import Request
from goverse.model.keys import ObjectKey
from goverse.objects.registry import Registry
from goverse.ports.link import Waiter
from goverse.ports.memory_coordinator import MemoryCoordinator, Reach
from goverse.routing.cluster_watch import ClusterWatch
from goverse.routing.links import NodeLink
from goverse.routing.router import Router
from goverse.wire.handshake import Hello
from goverse.wire.link import GrpcLink
from goverse.wire.options import WireOptions
from goverse.wire.outgoing import Budget
from goverse.wire.server import LinkServer
from goverse_node.messages.operating import Operating
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from goverse_node.ownership.keeper import Keeper
from goverse_node.ownership.leader import LeaderLimits
from goverse_node.ownership.loads import LoadMeter
from goverse_node.ownership.phases import OwnershipLimits
from goverse_node.ownership.shutdown import Shutdown
from tests.simulation import etcd
from tests.simulation.loop import Process
from tests.simulation.program import Log, Party, Relay
from tests.simulation.settings import LEASE_TTL_S, SHARDS
from tests.simulation.store import SimulatedStore
from tests.simulation.world import WallClock

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster

DRAIN_S = 5.0
RESTART_S = 0.5  # pause of the process manager before it starts a process again that ended with an error
WIRE = WireOptions(tick_s=0.2, connect_timeout_s=2.0, keepalive_s=1.0, silence_s_max=4.0, backoff_s_max=1.0)
OWNERSHIP = OwnershipLimits(close_budget_s=0.8, stuck_after_s=6.0)
LEADER = LeaderLimits(rejoin_grace_s=2.0, close_budget_s=0.8, stuck_after_s=6.0, stuck_avoid_s=10.0)
REGISTRY = Registry((Log, Relay, Party))


class Gauges:
    """The load of a simulated machine."""

    def processor(self) -> float:
        return 0.1

    def memory(self) -> float:
        return 0.1


class SimulatedProcess:
    """A gate or a node over all its lives.

    Attributes:
        name: its name, which is also its address.
        process: its present life, or the last one.
        router: the router of the present life.
        lives: True while all parts of the present life work.
        steady_since: the time of the last start, stop or kill.
        past_and_present: the processes of all lives.
    """

    kind = ""
    router: Router

    def __init__(self, cluster: SimulatedCluster, name: str) -> None:
        self.name = name
        self.process = Process(cluster.world.loop, name)
        self.process.crashed = True
        self._cluster, self._world = cluster, cluster.world
        self._lives = 0
        self._stop: Future[Shutdown] | None = None
        self._task: asyncio.Task[None] | None = None
        self.past_and_present: list[Process] = [self.process]
        self.lives = False
        self.steady_since = 0.0
        self._reach: Reach | None = None

    @property
    def alive(self) -> bool:
        """True while the process runs or is stopped, until it is killed or has left."""
        return self._task is not None and not self.process.crashed and not self._task.done()

    @property
    def life(self) -> str:
        """The incarnation of the present life."""
        return f"{self.name}.{self._lives}"

    def start(self) -> None:
        """Begin a new life."""
        if self.alive:
            return
        self._lives += 1
        self.lives, self.steady_since = False, self._world.now
        before, self.process = self.process, self._world.process(self.name)
        self.past_and_present.append(self.process)
        self._cluster.network.crashed(before)  # its machine is up again, and knows nothing of old streams
        self._world.note(self.life, "starts")
        self._stop = self._world.loop.create_future()
        self._task = self.process.spawn(self._supervise())

    def kill(self, *, host_down: bool = False) -> None:
        """Kill the process, alone or with its machine."""
        if self.alive:
            self._world.note(self.life, "dies with its machine" if host_down else "is killed")
            self.lives, self.steady_since = False, self._world.now
            self.process.host_down = host_down
            self.process.crash()
            if not host_down:
                self._cluster.network.crashed(self.process)

    def leave(self, how: Shutdown = Shutdown.GRACEFUL) -> None:
        """Ask the process to stop, as SIGTERM does."""
        if self._stop is not None and not self._stop.done() and self.alive:
            self._world.note(self.life, f"gets the signal to stop ({how.name.lower()})")
            self.lives, self.steady_since = False, self._world.now
            self._cluster.watchers.leaving.add(self.life)
            self._stop.set_result(how)

    def pause(self) -> None:
        """Give the process no steps, as SIGSTOP does."""
        if self.alive and not self.process.stopped:
            self._world.note(self.life, "is stopped")
            self.steady_since = float("inf")
            self.process.stop()

    def proceed(self) -> None:
        """Let a stopped process continue."""
        if self.process.stopped and not self.process.crashed:
            self._world.note(self.life, "continues")
            self.steady_since = self._world.now
            self.process.proceed()

    def lag(self, seconds: float) -> None:
        """Delay what the process sees of etcd, as if its etcd member were behind the others."""
        if self._reach is not None:
            self._reach.lag_s = seconds

    async def left(self) -> None:
        """Wait until the present life has ended in order."""
        if self._task is not None and not self.process.crashed:
            await asyncio.wait([self._task])

    async def _supervise(self) -> None:
        assert self._stop is not None
        while not self._stop.done():
            try:
                async with AsyncExitStack() as undo:
                    await self._serve(undo, self._stop)
            except Unavailable as error:
                self._world.note(self.life, f"cannot start: {error.detail}")
                await asyncio.sleep(RESTART_S)
        self._world.note(self.life, "has left")

    async def _serve(self, undo: AsyncExitStack, stop: Future[Shutdown]) -> None:
        raise NotImplementedError

    async def _follow(self, undo: AsyncExitStack) -> tuple[MemoryCoordinator, ClusterWatch]:
        """Read the state of the cluster, and keep the router up to date with it."""
        cluster = self._cluster
        hello = Hello(kind=self.kind, id=self.name, incarnation=self.life, release="simulated")
        coordinator = etcd.connect(self._world, cluster.keys, self.name)
        undo.push_async_callback(coordinator.close)
        self._reach = coordinator.reach
        watch = ClusterWatch(coordinator, cluster.layout)
        connect = partial(self._connect, hello, Budget(1_000))
        self.router = Router(connect, shard_count=SHARDS, incarnation=self.life)
        undo.push_async_callback(self.router.close)
        watch.add(self.router.follow)
        await watch.start(SHARDS)
        undo.push_async_callback(watch.stop)
        return coordinator, watch

    def _connect(self, hello: Hello, budget: Budget, address: str) -> NodeLink:
        link = GrpcLink(
            address,
            hello,
            options=WIRE,
            budget=budget,
            jitter=self._world.random.random,
            name_of=self.router.name_of,
            channel=self._cluster.network.channel(self.process),
        )
        link.start()
        return link


class SimulatedGate(SimulatedProcess):
    """A gate: a router that clients reach over the network."""

    kind = "gate"

    async def _serve(self, undo: AsyncExitStack, stop: Future[Shutdown]) -> None:
        await self._follow(undo)
        self.lives = True
        await stop

    def take(self, request: Request, waiter: Waiter) -> None:
        """Take a client's request, as a step of the process."""
        self.process.call(self._carry, request, waiter)

    def _carry(self, request: Request, waiter: Waiter) -> None:
        self.router.carry(request, waiter)


class SimulatedNode(SimulatedProcess):
    """A node.

    Attributes:
        keeper: the keeper of the present life.
        node: the node of the present life.
        operating: operations on the reliable calls of the present life.
    """

    kind = "node"
    keeper: Keeper
    node: Node
    operating: Operating

    def redrive(self, sender: ObjectKey, call_id: str, body: bytes) -> asyncio.Task[None]:
        """Send a dead letter again, as a task of the process."""
        return self.process.spawn(self._redrive(sender, call_id, body))

    async def _redrive(self, sender: ObjectKey, call_id: str, body: bytes) -> None:
        with suppress(GoverseError):
            await self.operating.redrive(sender, call_id, self.keeper.shard_of(sender), body=body)

    def _new_id(self, _sender: ObjectKey) -> str:
        return f"again-{self._world.random.randbytes(8).hex()}"

    async def _serve(self, undo: AsyncExitStack, stop: Future[Shutdown]) -> None:
        process, cluster = self.process, self._cluster
        store = SimulatedStore(cluster.database, self.name, self.life)
        await store.open()
        undo.push_async_callback(store.close)
        coordinator, watch = await self._follow(undo)
        keeper = self.keeper = Keeper(
            Member(self.name, self.name, self.life),
            watch,
            coordinator,
            store,
            table=self.router.table,
            lease_ttl_s=LEASE_TTL_S,
            limits=OWNERSHIP,
            leader_limits=LEADER,
            now=process.clock,
        )
        options = NodeOptions(node_id=self.name, delivery_timeout_s=cluster.settings.delivery_timeout_s)
        node = self.node = Node(
            REGISTRY,
            store,
            clock=WallClock(self._world, self.name),
            options=options,
            shard_access=keeper,
            entropy=self._world.random.randbytes,
        )
        self.operating = Operating(node.dispatcher, store, self._new_id, node.clock.wall_ms)
        hello = Hello(kind="node", id=self.name, incarnation=self.life, release="simulated")
        server = LinkServer(node, hello, options=WIRE, new_server=cluster.network.server(process))
        self.router.own = (self.name, node)
        node.calls = self.router
        await node.start()
        undo.push_async_callback(node.stop, DRAIN_S)
        await server.start(self.name)
        undo.push_async_callback(server.drain, DRAIN_S)
        keeper.start(node.evacuation, LoadMeter(node, Gauges()), node.dispatcher)
        undo.push_async_callback(keeper.stop)
        self.lives = True
        how = await stop
        if not await keeper.leave(how, DRAIN_S) and how is Shutdown.GRACEFUL:
            await keeper.leave(Shutdown.FINAL, DRAIN_S)
