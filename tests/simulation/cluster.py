"""A simulated cluster and one run of it: start, faults, recovery, and the check of the results."""

from __future__ import annotations

from goverse.cluster.keys import KeyLayout
from goverse.limits import LEASE_TTL_S
from tests.simulation.client import SimulatedClient
from tests.simulation.etcd import SimulatedEtcd
from tests.simulation.faults import Faults
from tests.simulation.gate import SimulatedGate
from tests.simulation.node import SimulatedNode
from tests.simulation.settings import CLUSTER, SHARDS, Bug, Settings
from tests.simulation.store import SimulatedStore
from tests.simulation.watchers import Watchers
from tests.simulation.world import World

START_S = 5.0
RECOVERY_S = LEASE_TTL_S + 2.0


class SimulatedCluster:
    """All parts of one run.

    Attributes:
        recovered_s: time from the end of the faults until every shard was served; None if that did not happen.
    """

    def __init__(self, seed: int, settings: Settings) -> None:
        self.seed = seed
        self.settings = settings
        self.world = World(seed)
        self.watchers = Watchers()
        self.etcd = SimulatedEtcd(self.world)
        self.store = SimulatedStore(self.world, self.watchers, fenced=Bug.UNFENCED not in settings.bugs)
        self.layout = KeyLayout(CLUSTER)
        self.nodes: dict[str, SimulatedNode] = {}
        self.gates = [SimulatedGate(self, f"gate-{number}") for number in range(settings.gates)]
        self.clients = [SimulatedClient(self, number) for number in range(settings.clients)]
        self.recovered_s: float | None = None
        self._calm_at = 0.0

    def add_node(self) -> SimulatedNode:
        """Start one more node."""
        node = SimulatedNode(self, f"node-{len(self.nodes)}")
        self.nodes[node.name] = node
        node.start()
        return node

    def run(self) -> Watchers:
        """Run the cluster and return the watchers, which hold the violations."""
        world, settings = self.world, self.settings
        self.etcd.write(self.layout.shards, str(SHARDS).encode())
        for _ in range(settings.nodes):
            self.add_node()
        for gate in self.gates:
            gate.start()
        for client in self.clients:
            client.begin()
        world.run(START_S)
        if self._unserved():
            self.watchers.found.append(f"after the start shards are not served: {self._unserved()}")
        faults = Faults(self)
        faults.begin(settings.faults_s)
        world.run(START_S + settings.faults_s)
        faults.heal()
        self._calm_at = world.now
        self._look_whether_served()
        world.run(self._calm_at + RECOVERY_S)
        if self.recovered_s is None:
            self.watchers.found.append(f"{RECOVERY_S} s after the last fault shards are not served: {self._unserved()}")
        for client in self.clients:
            client.stopped = True
        world.run(world.now + settings.calm_s)
        self._judge()
        return self.watchers

    def _look_whether_served(self) -> None:
        if self._unserved():
            self.world.after(0.1, self._look_whether_served)
        elif self.recovered_s is None:
            self.recovered_s = self.world.now - self._calm_at

    def _unserved(self) -> list[int]:
        """Return the shards for which a gate has no route to the node that serves them."""
        found: list[int] = []
        for shard in range(SHARDS):
            for gate in self.gates:
                route = gate.table.route(shard)
                node = self.nodes[route.node] if route is not None else None
                if route is None or node is None or not node.alive or node.ownership.epoch(shard) != route.epoch:
                    found.append(shard)
                    break
        return found

    def _judge(self) -> None:
        for client in self.clients:
            if client.busy:
                self.watchers.found.append(f"did not finish: {client.busy}")
        if not self.watchers.commits:
            self.watchers.found.append("nothing was ever committed")
        self.watchers.finish(self.store.logs)
