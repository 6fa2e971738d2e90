"""A simulated cluster and one run of it: start, faults, recovery, end, and the check of the results."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

import orjson

from goverse.cluster.keys import KeyLayout
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse.ports.memory_keys import MemoryKeys
from goverse_node.ownership.shutdown import Shutdown
from goverse_node.stores.memory import MemoryStore
from tests.linearizability import Outcome
from tests.simulation.client import PATIENCE_S, SimulatedClient
from tests.simulation.etcd import Recorder
from tests.simulation.faults import PLANNED, Faults
from tests.simulation.network import Network
from tests.simulation.processes import SimulatedGate, SimulatedNode, SimulatedProcess
from tests.simulation.program import CHANCE, Broken
from tests.simulation.senders import SimulatedSender
from tests.simulation.settings import CLUSTER, LEASE_TTL_S, OBJECTS, SHARDS, Settings
from tests.simulation.store import Database
from tests.simulation.watchers import Watchers
from tests.simulation.world import World

START_S = 5.0
RECOVERY_S = LEASE_TTL_S + 5.0
DRAIN_S = LEASE_TTL_S + 30.0
LOOK_S = 0.1
CLEARING_ROUNDS = 5
CLEARING_S = 60.0


class SimulatedCluster:
    """All parts of one run.

    Attributes:
        recovered_s: time from the end of the faults until every shard was served; None if that did not happen.
        slow_turn_s: the longest pause inside a method; 0 for none.
    """

    def __init__(
        self, seed: int, settings: Settings | None = None, *, traced: bool = False, steady: bool = False
    ) -> None:
        self.seed = seed
        self.settings = settings or Settings()
        self.world = World(seed, traced=traced, steady=steady)
        self.watchers = Watchers()
        self.keys = MemoryKeys(self.world.clock)
        self.layout = KeyLayout(CLUSTER)
        self.database = Database(self.world, self.watchers, MemoryStore(clock=self.world.clock))
        self.network = Network(self.world)
        self.nodes: dict[str, SimulatedNode] = {}
        self.gates = [SimulatedGate(self, f"gate-{number}") for number in range(self.settings.gates)]
        self.clients = [SimulatedClient(self, number) for number in range(self.settings.clients)]
        self.senders = [SimulatedSender(self, number) for number in range(self.settings.senders)]
        self.faults = Faults(self)
        self.recovered_s: float | None = None
        self.slow_turn_s = 0.0
        self._errors = _Errors(self.watchers)
        Recorder(self.world, self.keys, self.layout)

    @property
    def processes(self) -> list[SimulatedProcess]:
        """The gates and the nodes."""
        return [*self.gates, *self.nodes.values()]

    def add_node(self) -> SimulatedNode:
        """Start one more node."""
        node = SimulatedNode(self, f"node-{len(self.nodes)}")
        self.nodes[node.name] = node
        node.start()
        return node

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> Watchers:
        """Run the cluster with random faults, and return the watchers, which hold the violations."""
        return self.play(self._story())

    def play(self, story: Coroutine[Any, Any, None]) -> Watchers:
        """Run a story on the loop, and check the results."""
        loop, errors = self.world.loop, self._errors
        CHANCE.seed(self.seed)
        logging.disable(logging.WARNING)  # a run has its trace
        logger = logging.getLogger("goverse")
        logger.addHandler(errors)
        try:
            loop.run_until_complete(story)
        finally:
            self.world.closed = True
            errors.setLevel(logging.CRITICAL + 1)  # what is cleared away runs code that a killed process does not
            loop.run_until_complete(self._clear_away())
            logger.removeHandler(errors)
            logging.disable(logging.NOTSET)
            loop.close()
        return self.watchers

    async def _story(self) -> None:
        settings, found = self.settings, self.watchers.found
        await self.start()
        callers: tuple[SimulatedClient | SimulatedSender, ...] = (*self.clients, *self.senders)
        clients = [asyncio.create_task(caller.run()) for caller in callers]
        self.faults.begin(settings.faults_s)
        await asyncio.sleep(settings.faults_s)
        self.faults.heal()
        self.recovered_s = await self.served(RECOVERY_S)
        if self.recovered_s is None:
            found.append(f"{RECOVERY_S} s after the last fault shards are not served: {self.unserved()}")
        if set(settings.faults) <= set(PLANNED) and settings.faults:
            self._judge_planned()
        for caller in callers:
            caller.stopped = True
        await asyncio.wait(clients, timeout=PATIENCE_S + settings.calm_s)
        found.extend(f"did not finish: {caller.busy}" for caller in callers if caller.busy)
        await self.drained()
        self.judge()
        await self.end()

    async def drained(self) -> None:
        """Wait until all reliable calls have ended, and check that the outboxes are empty."""
        calls, memory, agree = self.watchers.calls, self.database.memory, not self.faults.stepped
        await self.until(lambda: not calls.waiting(clocks_agree=agree), DRAIN_S)
        pending = await memory.pending(range(SHARDS), limit=100)
        calls.finish([call.number for call in pending], clocks_agree=agree)

    async def redrive(self, sender: ObjectKey, call_id: str, body: bytes) -> None:
        """Send a dead letter again, twice at each node that may serve its sender."""
        shard = self.gates[0].router.table.shard_of(sender)
        nodes = [node for node in self.nodes.values() if node.alive and node.lives]
        serving = [node for node in nodes if node.keeper.epoch(shard) is not None]
        tasks = [node.redrive(sender, call_id, body) for node in serving for _ in range(2)]
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE_S)

    async def start(self) -> None:
        """Start all processes, and wait until every shard is served."""
        await self.database.memory.open()
        for _ in range(self.settings.nodes):
            self.add_node()
        for gate in self.gates:
            gate.start()
        if await self.served(START_S) is None:
            self.watchers.found.append(f"after the start shards are not served: {self.unserved()}")

    async def served(self, timeout_s: float) -> float | None:
        """Wait until every shard is served. Returns the time that it took, or None after ``timeout_s``."""
        return await self.until(lambda: not self.unserved(), timeout_s)

    async def until(self, condition: Callable[[], bool], timeout_s: float, *, look_s: float = LOOK_S) -> float | None:
        """Wait for a condition. Returns the time that it took, or None after ``timeout_s``."""
        began = self.world.now
        while not condition():
            if self.world.now >= began + timeout_s:
                return None
            await asyncio.sleep(look_s)
        return self.world.now - began

    def unserved(self) -> list[int]:
        """Return the shards for which a gate has no route to the node that serves them."""
        return [shard for shard in range(SHARDS) if not all(self._serves(gate, shard) for gate in self.gates)]

    def _serves(self, gate: SimulatedGate, shard: int) -> bool:
        route = gate.router.table.route(shard) if gate.alive and gate.lives else None
        node = self.nodes.get(route.node) if route is not None else None
        if route is None or node is None or not node.alive or not node.lives:
            return False
        return node.keeper.ownership.epoch(shard) == route.epoch

    # --- the end ------------------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Check the results of the calls."""
        if not self.watchers.commits:
            self.watchers.found.append("nothing was ever committed")
        logs = {f"log-{number}": self._field("Log", f"log-{number}", "entries") for number in range(OBJECTS)}
        self.watchers.finish({log: tuple(entries or ()) for log, entries in logs.items()})
        relayed = [each for client in self.clients for each in client.relayed]
        for log in logs:
            outcomes = [outcome for name, outcome in relayed if name == log]
            passed_on = self._field("Relay", f"relay-{log}", "passed_on") or 0
            done, unknown = outcomes.count(Outcome.DONE), outcomes.count(Outcome.UNKNOWN)
            if not done <= passed_on <= done + unknown:
                self.watchers.found.append(
                    f"the relay of {log} passed on {passed_on} entries; {done} calls succeeded, {unknown} are unknown"
                )

    def _judge_planned(self) -> None:
        """Check that planned moves failed no call and no commit."""
        watchers = self.watchers
        if watchers.failures:
            watchers.found.append(f"{watchers.failures} calls failed at the first attempt in planned moves")
        if watchers.fences:
            watchers.found.append(f"{watchers.fences} commits were fenced in planned moves")

    def _field(self, type_name: str, object_id: str, field: str) -> Any:
        stored = self.database.memory.load(ObjectKey(DEFAULT_NAMESPACE, type_name, object_id))
        return None if stored is None or stored.state is None else orjson.loads(stored.state)[field]

    async def end(self) -> None:
        """Stop all processes in order, and check that nothing of them is left."""
        self.faults.end()
        found = self.watchers.found
        alive = [process for process in self.processes if process.alive]
        for process in alive:
            process.leave(Shutdown.FINAL)
        for process in alive:
            await process.left()
        for process in alive:
            left = process.process.tasks()
            found.extend(f"{process.life} left a task: {task.get_coro()}" for task in left)
            found.extend(f"{process.life} left a timer: {timer}" for timer in self.world.loop.timers(process.process))
        found.extend(self.world.loop.errors)

    async def _clear_away(self) -> None:
        """Cancel all tasks, also those of crashed processes."""
        for process in self.processes:
            for life in process.past_and_present:
                life.unfreeze()
        for _ in range(CLEARING_ROUNDS):
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=CLEARING_S)


class _Errors(logging.Handler):
    """Collects the exceptions that the product logs: each is a violation."""

    def __init__(self, watchers: Watchers) -> None:
        super().__init__(logging.ERROR)
        self._watchers = watchers

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None and not isinstance(record.exc_info[1], Broken):
            error = "".join(traceback.format_exception(record.exc_info[1])) if record.exc_info[1] is not None else ""
            self._watchers.found.append(f"{record.name} logged: {record.getMessage()}: {error}")
