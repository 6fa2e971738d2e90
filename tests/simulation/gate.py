"""A simulated gate: the real shard table, delivery and parking on virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from goverse.cluster.delivery import Delivery, Fail, Miss, Park
from goverse.cluster.keys import KeyLayout
from goverse.cluster.parking import Parking
from goverse.cluster.table import ShardTable
from goverse.cluster.view import ClusterView
from goverse.errors import GoverseError
from goverse.limits import PARKED_CALLS_MAX
from tests.simulation.calls import Answer, Kind, Request
from tests.simulation.connection import Connection
from tests.simulation.settings import CLUSTER, SHARDS, Bug
from tests.simulation.world import Process

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster

CALL_TIMEOUT_S = 8.0
Done = Callable[[tuple[int, ...] | GoverseError], None]
_MISSES = {Kind.MOVING: Miss.MOVING, Kind.UNSENT: Miss.UNSENT, Kind.LOST: Miss.LOST}


class RoutedCall:
    """One call in a gate."""

    def __init__(self, gate: SimulatedGate, number: int, entry: int | None, key: str | None, done: Done) -> None:
        now = gate.clock()
        self.gate = gate
        self.number = number
        self.shard = number % SHARDS
        self._entry = entry
        self._done: Done | None = done
        self._deadline = now + CALL_TIMEOUT_S
        changes = entry is not None and Bug.UNKEYED_RETRY not in gate.cluster.settings.bugs
        self._delivery = Delivery(
            now, self._deadline, changes=changes, idempotency_key=key, router_key=gate.router_key()
        )
        gate.after(CALL_TIMEOUT_S, self._expire)

    def go_on(self) -> None:
        """Take the next step of the delivery: fail, park or send."""
        if self._done is None:
            return
        gate = self.gate
        step = self._delivery.next(gate.table.route(self.shard), gate.clock())
        if isinstance(step, Fail):
            self._finish(step.error)
        elif isinstance(step, Park):
            gate.parking.park(self, self.shard, step.until)
        else:
            request = Request(
                self.number, self.shard, self._entry, step.idempotency_key, step.attempt, lambda _answer: None
            )
            gate.send(step.route.node, request, self._answered)

    def _answered(self, answer: Answer) -> None:
        if self._done is None:
            return
        if answer.kind is Kind.DONE:
            self._finish(answer.entries)
        else:
            self._delivery.missed(_MISSES[answer.kind], self.gate.clock())
            self.go_on()

    def _expire(self) -> None:
        if self._done is not None:
            self.gate.parking.forget(lambda call: call is self)
            self._finish(self._delivery.expire(self.gate.table.route(self.shard), self.gate.clock()).error)

    def _finish(self, result: tuple[int, ...] | GoverseError) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)


class SimulatedGate(Process):
    """One gate, across its restarts."""

    def __init__(self, cluster: SimulatedCluster, name: str) -> None:
        super().__init__(cluster.world, name)
        self.cluster = cluster
        self._keys = 0

    def start(self) -> None:
        """Start the process with empty memory."""
        self.life += 1
        self.alive = True
        self.paused_until = 0.0
        self.view = ClusterView(KeyLayout(CLUSTER))
        self.table = ShardTable(SHARDS)
        self.parking: Parking[RoutedCall] = Parking(PARKED_CALLS_MAX)
        self._connections: dict[str, Connection] = {}
        self.cluster.etcd.watch(self, self.view, self._seen)
        self._tick()

    def crash(self) -> None:
        """Crash. Callers receive no more replies."""
        self.world.note(f"{self.name} crashes")
        self.alive = False

    def call(self, number: int, entry: int | None, key: str | None, done: Done) -> None:
        """Route a client's call to its object."""
        self.after(self.world.delay("client", self.name), RoutedCall(self, number, entry, key, done).go_on)

    def router_key(self) -> str:
        """Return a new unique idempotency key."""
        self._keys += 1
        return f"{self.name}.{self.life}.{self._keys}"

    def send(self, node: str, request: Request, tell: Callable[[Answer], None]) -> None:
        """Send to `node` over the existing connection, or a new one if there is none."""
        connection = self._connections.get(node)
        if connection is None or connection.broken:
            connection = self._connections[node] = Connection(self, self.cluster.nodes[node])
        if connection.broken:
            self.after(self.world.random.uniform(0.001, 0.3), lambda: tell(Answer(Kind.UNSENT)))
        else:
            connection.send(request, tell)

    def cut_connections(self) -> None:
        """Break all connections."""
        for connection in self._connections.values():
            if not connection.broken:
                connection.cut()

    def _seen(self) -> None:
        for call in self.parking.moved(self.table.update(self.view)):
            call.go_on()

    def _tick(self) -> None:
        self.after(0.05, self._tick)
        for call in self.parking.due(self.clock()):
            call.go_on()
