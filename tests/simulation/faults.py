"""The faults of a run and their times. At the end all faults are repaired, and the cluster has to recover."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from goverse.ports.coordinator import Delete, Put
from goverse_node.ownership.shutdown import Shutdown
from tests.simulation import etcd, store
from tests.simulation.settings import SHARDS

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster
    from tests.simulation.processes import SimulatedGate, SimulatedNode, SimulatedProcess

NODES_MAX = 5

T = TypeVar("T")


class Faults:
    """Chooses among the faults that the settings allow, all of them by default.

    Attributes:
        stepped: True once the wall clock of a machine was wrong.
    """

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._random = cluster.world.random
        self._over = self._ended = self.stepped = False
        self._removed: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, seconds: float) -> None:
        """Schedule random faults for ``seconds``."""
        names = self._cluster.settings.faults or tuple(sorted(ALL))
        at = self._random.uniform(0, 1)
        while at < seconds - 1:
            self._world.loop.call_later(at, self.strike, self._random.choice(names))
            at += self._random.expovariate(1 / self._cluster.settings.fault_every_s)

    def strike(self, name: str) -> None:
        """Let a fault happen now."""
        self._world.note("fault", name)
        ALL[name](self)

    def heal(self) -> None:
        """Repair all faults."""
        self._over = True
        world, cluster = self._world, self._cluster
        world.note("fault", "all faults are repaired")
        world.mend(tuple(world.cut))
        world.slow.clear()
        world.stepped_ms.clear()
        world.loss = 0.0
        cluster.database.delay_s = cluster.slow_turn_s = 0.0
        if not cluster.keys.up:
            cluster.keys.start()
        for process in cluster.processes:
            process.lag(0.0)
            process.proceed()
            if not process.alive and process.name not in self._removed:
                process.start()
        for name in cluster.nodes:
            self._write(cluster.layout.drain(name), None)
        for shard in range(SHARDS):
            self._write(cluster.layout.pin(shard), None)

    def end(self) -> None:
        """Start no process again."""
        self._ended = True

    # --- tools --------------------------------------------------------------------------------------------------------

    def _later(self, seconds: float, repair: Callable[[], object]) -> None:
        self._world.loop.call_later(seconds, lambda: None if self._over else repair())

    def _any_node(self) -> SimulatedNode:
        return self._random.choice(list(self._cluster.nodes.values()))

    def _any_gate(self) -> SimulatedGate:
        return self._random.choice(self._cluster.gates)

    def _living(self) -> SimulatedNode | None:
        living = [node for node in self._cluster.nodes.values() if node.alive]
        return self._random.choice(living) if living else None

    def _write(self, key: str, value: bytes | None) -> None:
        if self._cluster.keys.up:
            self._cluster.keys.write([], [Delete(key) if value is None else Put(key, value)])

    def _cut(self, left: str, right: str, seconds: float) -> None:
        """Cut the network between two processes, in one direction or both."""
        ways = self._random.choice(([(left, right)], [(right, left)], [(left, right), (right, left)]))
        self._world.sever(ways)
        self._later(seconds, lambda: self._world.mend(ways))

    def _kill(self, process: SimulatedProcess, seconds: float) -> None:
        """Kill a process, and start it again after a while."""
        process.kill(host_down=self._random.random() < 0.3)
        self._later(seconds, lambda: self._start(process))

    def _start(self, process: SimulatedProcess) -> None:
        if not process.alive and process.name not in self._removed and not self._ended:
            process.start()

    # --- the faults ---------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        node = self._living()
        if node is not None:
            self._kill(node, self._random.choice((0.1, 1.0, 4.0, 8.0)))

    def crash_leader(self) -> None:
        for node in tuple(self._cluster.nodes.values()):
            if node.alive and node.lives and node.keeper.leads:
                self._kill(node, self._random.uniform(0.1, 7.0))

    def crash_gate(self) -> None:
        gate = self._any_gate()
        if gate.alive:
            self._kill(gate, self._random.uniform(0.1, 2.0))

    def pause(self) -> None:
        process = self._random.choice([self._any_node(), self._any_node(), self._any_gate()])
        process.pause()
        self._later(self._random.choice((0.3, 2.0, 6.0, 8.0)), process.proceed)

    def suspend(self) -> None:
        """Suspend a node's machine: the process stops, and only the boot clock counts the time."""
        self._any_node().process.suspend(self._random.choice((1.0, 3.0, 20.0)))

    def step_clock(self) -> None:
        """Set the wall clock of a node's machine forward or back."""
        self.stepped = True
        seconds = self._random.choice((-3_600.0, -20.0, -1.0, 1.0, 20.0, 3_600.0))
        self._world.stepped_ms[self._any_node().name] = round(seconds * 1000)

    def cut_from_etcd(self) -> None:
        self._cut(self._any_node().name, etcd.NAME, self._random.choice((0.5, 3.0, 7.0)))

    def cut_from_store(self) -> None:
        self._cut(self._any_node().name, store.NAME, self._random.choice((0.5, 3.0)))

    def cut_gate_from_node(self) -> None:
        self._cut(self._any_gate().name, self._any_node().name, self._random.choice((0.5, 3.0, 6.0)))

    def cut_gate_from_etcd(self) -> None:
        self._cut(self._any_gate().name, etcd.NAME, self._random.choice((0.5, 4.0)))

    def cut_nodes(self) -> None:
        left, right = self._any_node(), self._any_node()
        if left is not right:
            self._cut(left.name, right.name, self._random.choice((0.5, 3.0)))

    def split(self) -> None:
        self._split(self._random.choice((2.0, 5.0)))

    def split_for_long(self) -> None:
        self._split(9.0)

    def _split(self, seconds: float) -> None:
        """Cut off a node and a gate together: they reach each other and the store, but no other process."""
        side = {self._any_node().name, self._any_gate().name}
        others = (etcd.NAME, *(process.name for process in self._cluster.processes))
        rest = [name for name in others if name not in side]
        ways = [way for one in sorted(side) for other in rest for way in ((one, other), (other, one))]
        self._world.sever(ways)
        self._later(seconds, lambda: self._world.mend(ways))

    def break_streams(self) -> None:
        for stream in self._cluster.network.streams(self._random.choice([self._any_gate(), self._any_node()]).process):
            stream.reset("connection reset by peer")

    def etcd_outage(self) -> None:
        self._cluster.keys.stop()
        self._later(self._random.choice((0.3, 2.0, 6.0)), self._cluster.keys.start)

    def empty_etcd(self) -> None:
        self._cluster.keys.restore(None)

    def restore_etcd(self) -> None:
        """Restore a backup that was made up to four seconds ago."""
        backup = self._cluster.keys.backup()
        self._later(self._random.choice((0.1, 1.0, 4.0)), lambda: self._cluster.keys.restore(backup))

    def compact_etcd(self) -> None:
        self._cluster.keys.compact()

    def empty_etcd_behind_a_split(self) -> None:
        """Empty etcd while a node and a gate, which still reach each other, are cut off from it."""
        self._split(self._random.choice((2.0, 5.0, 8.0)))
        self._cluster.keys.restore(None)

    def restore_etcd_behind_a_split(self) -> None:
        """Restore a backup while a node and a gate are cut off; shards may have had other targets in it."""
        backup = self._cluster.keys.backup()

        def strike() -> None:
            self._split(self._random.choice((2.0, 5.0, 8.0)))
            self._cluster.keys.restore(backup)

        self._later(self._random.choice((0.5, 3.0)), strike)

    def lose_messages(self) -> None:
        self._world.loss = 0.05
        self._later(2.0, partial(setattr, self._world, "loss", 0.0))

    def slow_network(self) -> None:
        name = self._random.choice([*self._cluster.nodes, etcd.NAME, store.NAME])
        self._world.slow[name] = 50.0
        self._later(2.0, lambda: self._world.slow.pop(name, None))

    def lag_watch(self) -> None:
        process = self._random.choice([self._any_node(), self._any_gate()])
        process.lag(self._random.choice((0.3, 1.0, 3.0)))
        self._later(self._random.uniform(1, 5), lambda: process.lag(0.0))

    def slow_store(self) -> None:
        self._slow_store(0.1)

    def very_slow_store(self) -> None:
        self._slow_store(1.0)

    def _slow_store(self, seconds: float) -> None:
        self._cluster.database.delay_s = seconds
        self._later(3.0, partial(setattr, self._cluster.database, "delay_s", 0.0))

    def slow_turns(self) -> None:
        self._slow_turns(0.3)

    def very_slow_turns(self) -> None:
        self._slow_turns(1.2)

    def _slow_turns(self, seconds: float) -> None:
        self._cluster.slow_turn_s = seconds
        self._later(3.0, partial(setattr, self._cluster, "slow_turn_s", 0.0))

    def drain(self) -> None:
        key = self._cluster.layout.drain(self._any_node().name)
        self._write(key, b"1")
        self._later(self._random.uniform(1, 4), lambda: self._write(key, None))

    def pin(self) -> None:
        key, node = self._cluster.layout.pin(self._random.randrange(SHARDS)), self._any_node()
        self._write(key, node.name.encode())
        self._later(self._random.uniform(1, 4), lambda: self._write(key, None))

    def restart_fast(self) -> None:
        self._restart(Shutdown.FAST)

    def restart_gracefully(self) -> None:
        self._restart(Shutdown.GRACEFUL)

    def _restart(self, how: Shutdown) -> None:
        node = self._living()
        if node is not None:
            node.leave(how)
            self._tasks.append(asyncio.ensure_future(self._start_again(node)))

    async def _start_again(self, node: SimulatedNode) -> None:
        await node.left()
        self._start(node)

    def scale_up(self) -> None:
        if len(self._cluster.nodes) < NODES_MAX:
            self._cluster.add_node()

    def scale_down(self) -> None:
        staying = [node for node in self._cluster.nodes.values() if node.name not in self._removed]
        if len(staying) > 2:
            node = self._random.choice(staying)
            self._removed.add(node.name)
            node.leave()


ALL: dict[str, Callable[[Faults], object]] = {
    name: fault
    for name, fault in vars(Faults).items()
    if callable(fault) and not name.startswith("_") and name not in ("begin", "strike", "heal", "end")
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
