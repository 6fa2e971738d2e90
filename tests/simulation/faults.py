"""The faults of a run and their times. At the end all faults are repaired, and the cluster has to recover."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from goverse_node.ownership.shutdown import Shutdown
from tests.simulation import etcd, store
from tests.simulation.node import SimulatedNode
from tests.simulation.settings import SHARDS

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster

DRAIN_BUDGET_S = 8.0
LEAVE_BUDGET_S = 8.0
NODES_MAX = 6


class Faults:
    """Chooses among the faults that the settings allow, all of them by default."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._random = cluster.world.random
        self._over = False
        self._removed: set[str] = set()

    def begin(self, seconds: float) -> None:
        """Schedule random faults for `seconds`."""
        names = self._cluster.settings.faults or tuple(sorted(ALL))
        at = self._random.uniform(0, 2)
        while at < seconds - 1:
            name = self._random.choice(names)
            self._world.after(at, lambda name=name: self._strike(name))  # type: ignore[misc]
            at += self._random.expovariate(1 / self._cluster.settings.fault_every_s)

    def _strike(self, name: str) -> None:
        self._world.note(f"fault: {name}")
        ALL[name](self)

    def heal(self) -> None:
        """Repair all faults."""
        self._over = True
        world, cluster = self._world, self._cluster
        world.note("all faults are repaired")
        world.cut.clear()
        world.slow.clear()
        world.loss = 0.0
        cluster.store.delay_s = 0.0
        cluster.etcd.lag_s.clear()
        if not cluster.etcd.up:
            cluster.etcd.start()
        for node in cluster.nodes.values():
            node.go_on(at_once=True)
            node.slow_turn = 0.0
            if not node.alive and node.name not in self._removed:
                node.start()
        for gate in cluster.gates:
            gate.go_on(at_once=True)
            if not gate.alive:
                gate.start()
        self._write(cluster.layout.drain(self._any_node().name), None)
        for name in cluster.nodes:
            self._write(cluster.layout.drain(name), None)

    # --- tools --------------------------------------------------------------------------------------------------------

    def _later(self, seconds: float, repair: Callable[[], None]) -> None:
        self._world.after(seconds, lambda: None if self._over else repair())

    def _any_node(self) -> SimulatedNode:
        return self._random.choice(list(self._cluster.nodes.values()))

    def _living(self) -> SimulatedNode | None:
        living = [node for node in self._cluster.nodes.values() if node.alive]
        return self._random.choice(living) if living else None

    def _write(self, key: str, value: bytes | None) -> None:
        self._cluster.etcd.write(key, value)

    def _cut(self, left: str, right: str, seconds: float) -> None:
        """Cut the network between two processes, in one direction or both."""
        ways = self._random.choice(([(left, right)], [(right, left)], [(left, right), (right, left)]))
        self._world.cut.update(ways)
        self._later(seconds, lambda: self._world.cut.difference_update(ways))

    def _restart(self, node: SimulatedNode, seconds: float) -> None:
        def start() -> None:
            if not node.alive and node.name not in self._removed:
                node.start()

        self._later(seconds, start)

    # --- the faults ---------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        node = self._living()
        if node is not None:
            node.crash()
            self._restart(node, self._random.choice((0.1, 2.0, 8.0, 15.0)))

    def crash_leader(self) -> None:
        for node in self._cluster.nodes.values():
            if node.alive and node.election.leads is not None:
                node.crash()
                self._restart(node, self._random.uniform(0.1, 12.0))

    def pause(self) -> None:
        self._any_node().pause(self._random.choice((0.5, 3.0, 11.0, 15.0)))

    def clock_jump(self) -> None:
        self._any_node().jump(self._random.choice((1.0, 5.0, 30.0)))

    def cut_from_etcd(self) -> None:
        self._cut(self._any_node().name, etcd.NAME, self._random.choice((1.0, 6.0, 14.0)))

    def cut_from_store(self) -> None:
        self._cut(self._any_node().name, store.NAME, self._random.choice((1.0, 5.0)))

    def cut_gate_from_node(self) -> None:
        gate = self._random.choice(self._cluster.gates)
        self._cut(gate.name, self._any_node().name, self._random.choice((0.5, 3.0, 8.0)))

    def cut_gate_from_etcd(self) -> None:
        gate = self._random.choice(self._cluster.gates)
        self._cut(gate.name, etcd.NAME, self._random.choice((1.0, 6.0)))

    def split(self) -> None:
        self._split(self._random.choice((3.0, 8.0)))

    def split_for_long(self) -> None:
        self._split(18.0)

    def _split(self, seconds: float) -> None:
        """Cut off a node and a gate together: they reach each other and the store, but no other process."""
        side = {self._any_node().name, self._random.choice(self._cluster.gates).name}
        rest = {etcd.NAME, *self._cluster.nodes, *(gate.name for gate in self._cluster.gates)} - side
        ways = {way for one in side for other in rest for way in ((one, other), (other, one))}
        self._world.cut.update(ways)
        self._later(seconds, lambda: self._world.cut.difference_update(ways))

    def cut_connections(self) -> None:
        self._random.choice(self._cluster.gates).cut_connections()

    def crash_gate(self) -> None:
        gate = self._random.choice(self._cluster.gates)
        gate.crash()
        self._later(self._random.uniform(0.1, 2.0), lambda: None if gate.alive else gate.start())

    def etcd_outage(self) -> None:
        self._cluster.etcd.stop()
        self._later(self._random.choice((0.5, 3.0, 12.0)), self._cluster.etcd.start)

    def empty_etcd(self) -> None:
        self._cluster.etcd.restore(None)

    def restore_etcd(self) -> None:
        """Restore a backup that was made up to six seconds ago."""
        backup = self._cluster.etcd.backup()
        self._later(self._random.choice((0.1, 1.0, 6.0)), lambda: self._cluster.etcd.restore(backup))

    def empty_etcd_behind_a_split(self) -> None:
        """Empty etcd while a node and a gate, which still reach each other, are cut off from it."""
        self._split(self._random.choice((3.0, 8.0, 14.0)))
        self._cluster.etcd.restore(None)

    def restore_etcd_behind_a_split(self) -> None:
        """Restore a backup while a node and a gate are cut off; shards may have had other targets in it."""
        backup = self._cluster.etcd.backup()

        def strike() -> None:
            self._split(self._random.choice((3.0, 8.0, 14.0)))
            self._cluster.etcd.restore(backup)

        self._later(self._random.choice((1.0, 6.0)), strike)

    def lose_messages(self) -> None:
        self._world.loss = 0.05
        self._later(3.0, lambda: setattr(self._world, "loss", 0.0))

    def slow_network(self) -> None:
        name = self._random.choice([*self._cluster.nodes, etcd.NAME, store.NAME])
        self._world.slow[name] = 50.0
        self._later(4.0, lambda: self._world.slow.update({name: 1.0}))

    def lag_watch(self) -> None:
        name = self._any_node().name
        self._cluster.etcd.lag_s[name] = self._random.choice((0.3, 1.0, 4.0))
        self._later(self._random.uniform(2, 8), lambda: self._cluster.etcd.lag_s.update({name: 0.0}))

    def slow_store(self) -> None:
        self._cluster.store.delay_s = self._random.choice((0.1, 1.0))
        self._later(4.0, lambda: setattr(self._cluster.store, "delay_s", 0.0))

    def slow_turns(self) -> None:
        node = self._any_node()
        node.slow_turn = self._random.choice((0.3, 4.0))
        self._later(5.0, lambda: setattr(node, "slow_turn", 0.0))

    def drain(self) -> None:
        key = self._cluster.layout.drain(self._any_node().name)
        self._write(key, b"1")
        self._later(self._random.uniform(2, 8), lambda: self._write(key, None))

    def pin(self) -> None:
        shard, node = self._random.randrange(SHARDS), self._any_node()
        self._write(self._cluster.layout.pin(shard), node.name.encode())
        self._later(self._random.uniform(2, 8), lambda: self._write(self._cluster.layout.pin(shard), None))

    def restart_fast(self) -> None:
        node = self._living()
        if node is not None:
            self._shut_down(node, Shutdown.FAST)
            self._when_gone(node, node.life)

    def restart_gracefully(self) -> None:
        node = self._living()
        if node is not None:
            self._shut_down(node, Shutdown.GRACEFUL)
            self._when_gone(node, node.life)

    def scale_up(self) -> None:
        if len(self._cluster.nodes) < NODES_MAX:
            self._cluster.add_node()

    def scale_down(self) -> None:
        staying = [node for node in self._cluster.nodes.values() if node.name not in self._removed]
        if len(staying) > 2:
            node = self._random.choice(staying)
            self._removed.add(node.name)
            if node.alive:
                self._shut_down(node, Shutdown.GRACEFUL)

    def _shut_down(self, node: SimulatedNode, how: Shutdown) -> None:
        life = node.life
        node.shut_down(how)

        def finally_leave() -> None:
            if node.alive and node.life == life:
                node.shut_down(Shutdown.FINAL)

        def kill() -> None:
            if node.alive and node.life == life:
                node.crash()

        if how is Shutdown.GRACEFUL:
            self._world.after(DRAIN_BUDGET_S, finally_leave)
        self._world.after(DRAIN_BUDGET_S + LEAVE_BUDGET_S, kill)

    def _when_gone(self, node: SimulatedNode, life: int) -> None:
        """Start `node` again as soon as it has left, unless it was started or removed in another way."""
        if node.alive and node.life == life:
            self._world.after(0.3, lambda: self._when_gone(node, life))
        elif node.life == life and node.name not in self._removed:
            node.start()


ALL: dict[str, Callable[[Faults], object]] = {
    name: fault
    for name, fault in vars(Faults).items()
    if callable(fault) and not name.startswith("_") and name not in ("begin", "heal")
}
PLANNED = (
    "drain",
    "pin",
    "restart_fast",
    "restart_gracefully",
    "scale_down",
    "scale_up",
    "slow_store",
    "slow_turns",
)
