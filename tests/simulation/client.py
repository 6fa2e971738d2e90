"""Clients: each makes one call after another and records the replies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.errors import Executed, GoverseError
from tests.linearizability import Observation, Outcome
from tests.simulation.settings import OBJECTS

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedCluster

PATIENCE_S = 9.0


class SimulatedClient:
    """One client. It repeats a call with a key until the call succeeds, and gives up other calls that fail.

    Attributes:
        busy: a description of the call in progress, or empty.
        stopped: the client starts no further call.
    """

    def __init__(self, cluster: SimulatedCluster, number: int) -> None:
        self._cluster = cluster
        self._number = number
        self.busy = ""
        self.stopped = False
        self._calls = 0

    def begin(self) -> None:
        """Start the next call after a random pause."""
        world = self._cluster.world
        if not self.stopped:
            world.after(world.random.uniform(0, 2 * self._cluster.settings.think_s), self._call)

    def _call(self) -> None:
        if self.stopped:
            return
        self._calls += 1
        random = self._cluster.world.random
        number = random.randrange(OBJECTS)
        kind = (
            "read" if random.random() < self._cluster.settings.reads else random.choice(("keyed", "keyed", "unkeyed"))
        )
        entry = None if kind == "read" else self._number * 1_000_000 + self._calls
        key = f"c{self._number}.{self._calls}" if kind == "keyed" else None
        self.busy = f"{kind} call {entry} to object {number}"
        self._attempt(number, entry, key, self._now())

    def _now(self) -> int:
        return round(self._cluster.world.now * 1e6)

    def _attempt(self, number: int, entry: int | None, key: str | None, called: int) -> None:
        cluster, answered = self._cluster, False

        def done(result: tuple[int, ...] | GoverseError | None) -> None:
            nonlocal answered
            if answered:
                return
            answered = True
            if not isinstance(result, tuple):
                cluster.watchers.failed()
            if key is not None and not isinstance(result, tuple):
                cluster.world.after(0.2, lambda: self._attempt(number, entry, key, called))
                return
            self._note(number, entry, called, result)
            self.busy = ""
            self.begin()

        gates = [gate for gate in cluster.gates if gate.alive]
        if gates:
            cluster.world.random.choice(gates).call(number, entry, key, done)
        cluster.world.after(PATIENCE_S, lambda: done(None))

    def _note(self, number: int, entry: int | None, called: int, result: tuple[int, ...] | GoverseError | None) -> None:
        history = self._cluster.watchers.history[number]
        if isinstance(result, tuple):
            history.append(Observation(entry, called, self._now(), Outcome.DONE, result))
        elif entry is not None:
            failed = result is not None and result.link_verdict is Executed.NO
            outcome = Outcome.FAILED if failed else Outcome.UNKNOWN
            history.append(Observation(entry, called, self._now(), outcome))
