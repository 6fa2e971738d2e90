"""The cluster and load of one scenario, and the actions that several scenarios share."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.chaos.load import Load
from tests.chaos.observer import Observer
from tests.cluster_processes import Processes

ANSWERS_PER_STEP = 100


@dataclass(frozen=True)
class Bound:
    """A measured duration and its limit."""

    what: str
    seconds: float
    seconds_max: float
    steps: str = ""

    @property
    def is_kept(self) -> bool:
        """Return True if the duration is within its limit."""
        return self.seconds <= self.seconds_max

    def __str__(self) -> str:
        sign = "≤" if self.is_kept else ">"
        steps = f" ({self.steps})" if self.steps else ""
        return f"{self.what} {self.seconds:.2f} s {sign} {self.seconds_max:g} s{steps}"


@dataclass
class Stage:
    """One scenario's cluster and load.

    Attributes:
        seconds: duration of the scenario; each disturbance happens at least once.
        brief: True for the shortest form: one disturbance of each kind, short outages.
        random: random numbers from the seed.
        figures: figures for the report.
        bounds: measured durations with limits, which decide whether the scenario passes.
    """

    processes: Processes
    observer: Observer
    load: Load
    seconds: float
    brief: bool
    random: random.Random
    figures: list[str] = field(default_factory=list[str])
    bounds: list[Bound] = field(default_factory=list[Bound])
    _ends_at: float | None = None

    @property
    def lease_ttl_s(self) -> float:
        """Lease time of the cluster."""
        return self.processes.shape.lease_ttl_s

    def goes_on(self) -> bool:
        """Return True if there is time for one more round; the first round always takes place."""
        now = asyncio.get_running_loop().time()
        if self._ends_at is None:
            self._ends_at = now + (0 if self.brief else self.seconds)
            return True
        return now < self._ends_at

    def lasting(self, seconds: float, *, brief: float) -> float:
        """Return the duration of a disturbance."""
        return brief if self.brief else seconds

    def some(self, names: Iterable[str], *, brief: int) -> list[str]:
        """Return the targets of a disturbance: all of them, or the first few in brief mode."""
        return list(names)[: brief if self.brief else None]

    def tell(self, figure: str) -> None:
        """Add a figure to the report."""
        self.figures.append(figure)

    # --- waiting ------------------------------------------------------------------------------------------------------

    async def served(self) -> None:
        """Wait until many more calls have been answered."""
        goal = self.load.tally.answered + ANSWERS_PER_STEP
        await self.observer.until(lambda: self.load.tally.answered >= goal, f"{ANSWERS_PER_STEP} more answers")

    async def joined(self, node: str) -> None:
        """Wait until a node serves shards and every shard is served."""
        await self.observer.until(
            lambda: self.observer.owners()[node] > 0 and self.observer.is_whole(), f"{node} with shards"
        )
        await self.served()

    async def recovered(self, began: float, what: str, *dead: str) -> None:
        """Wait until an object of every shard has answered a call, and record the time since ``began``."""
        steps = asyncio.create_task(self._steps(began, dead))
        await asyncio.gather(*(self.load.probe(shard) for shard in range(self.processes.shape.shards)))
        took_s = asyncio.get_running_loop().time() - began
        bound = Bound(f"every shard answers after {what}", took_s, self.lease_ttl_s + 2, await steps)
        self.bounds.append(bound)

    async def _steps(self, began: float, dead: Sequence[str]) -> str:
        """Wait until the leases of dead nodes have expired and all shards are claimed; return both times as text."""
        now = asyncio.get_running_loop().time
        await self.observer.until(lambda: not self.observer.view.nodes.keys() & set(dead), f"the end of {dead}")
        ended_s = now() - began
        await self.observer.until(self.observer.is_whole, "claims of all shards")
        return f"leases ended {ended_s:.2f} s, claimed {now() - began:.2f} s"

    # --- actions on processes -----------------------------------------------------------------------------------------

    async def kill(self, *names: str) -> float:
        """Kill processes at the same moment and return the time."""
        began = asyncio.get_running_loop().time()
        for name in names:
            self.processes.signal(name, signal.SIGKILL)
        for name in names:
            await self.processes.end(name, signal.SIGKILL)
        return began

    async def start(self, *nodes: str) -> None:
        """Start nodes and wait until they have their share of shards."""
        for node in nodes:
            self.processes.start_node(node)
        for node in nodes:
            await self.joined(node)

    async def leave(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop a process gracefully.

        Raises:
            AssertionError: its exit code is not 0.
        """
        code = await self.processes.end(name, number)
        assert code == 0, f"{name} ended with {code} after {number.name}:\n{self.processes.log(name)[-3000:]}"

    def a_follower(self) -> str:
        """Return a node that is not the leader."""
        return self.random.choice([node for node in self.processes.nodes if node != self.observer.leader])


@asynccontextmanager
async def interrupted(begin: Callable[[], object], end: Callable[[], Awaitable[object] | None]) -> AsyncIterator[None]:
    """Disturb the cluster while the block runs; the disturbance ends even if the block fails."""
    begin()
    try:
        yield
    finally:
        ended = end()
        if ended is not None:
            await ended
