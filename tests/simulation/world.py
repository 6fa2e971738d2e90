"""The world of a simulated cluster: virtual time, randomness from one seed, the state of the network, and the trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from random import Random

from tests.simulation.loop import Process, VirtualLoop

EPOCH_MS = 1_700_000_000_000
STEADY_S = 0.001


class LoopClock:
    """A ``goverse.ports.clock.Clock`` on the loop's time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.monotonic = loop.time

    def wall_ms(self) -> int:
        return EPOCH_MS + round(self.monotonic() * 1000)


class WallClock(LoopClock):
    """The clock of one machine, whose wall clock may be wrong."""

    def __init__(self, world: World, process: str) -> None:
        super().__init__(world.loop)
        self._world, self._process = world, process

    def wall_ms(self) -> int:
        return super().wall_ms() + self._world.stepped_ms.get(self._process, 0)


class World:
    """Time, randomness, network and trace of one run.

    Attributes:
        random: the only source of randomness.
        closed: True once the run is over; nothing is recorded any more.
        trace: the lines of the trace, if the run keeps one.
        events: the number of events so far.
        slow: the factor by which messages are slower, by the name of either end.
        stepped_ms: the error of the wall clock of each machine, by the name of its process.
        cut: the pairs of source and target between which no message passes.
        loss: the fraction of requests to etcd and the store that are lost without a partition.
    """

    def __init__(self, seed: int, *, traced: bool = False, steady: bool = False) -> None:
        """Draw everything from ``seed``. In a ``steady`` world messages take equally long and all clocks agree."""
        self.loop = VirtualLoop()
        self.clock = LoopClock(self.loop)
        self.random = Random(seed)
        self.closed = False
        self.traced = traced
        self._steady = steady
        self.trace: list[str] = []
        self.events = 0
        self.slow: dict[str, float] = {}
        self.stepped_ms: dict[str, int] = {}
        self.cut: set[tuple[str, str]] = set()
        self.loss = 0.0
        self._watchers: list[Callable[[], None]] = []
        self._digest = blake2b(digest_size=16)

    @property
    def now(self) -> float:
        """The virtual time in seconds."""
        return self.loop.time()

    def process(self, name: str) -> Process:
        """Create a process whose clock has a speed and a start of its own."""
        if self._steady:
            return Process(self.loop, name)
        rate, offset_s = self.random.uniform(0.998, 1.002), self.random.uniform(0, 1e6)
        return Process(self.loop, name, rate=rate, offset_s=offset_s)

    # --- the trace ----------------------------------------------------------------------------------------------------

    def note(self, who: str, what: str | Callable[[], str], data: bytes = b"") -> None:
        """Record an event. ``what`` is a text, or a function that returns it if the run keeps its trace."""
        if self.closed:
            return
        self.events += 1
        self._digest.update(b"%.6f " % self.now + who.encode() + data)
        if isinstance(what, str):
            self._digest.update(what.encode())
        if self.traced:
            self.trace.append(f"{self.now:9.4f}  {who:<22} {what if isinstance(what, str) else what()}")

    def digest(self) -> str:
        """Return a digest of all events so far."""
        return self._digest.hexdigest()

    # --- the network --------------------------------------------------------------------------------------------------

    def delay_s(self, source: str, target: str) -> float:
        """Return the random duration of a message."""
        factor = max(self.slow.get(source, 1.0), self.slow.get(target, 1.0))
        if self._steady:
            return STEADY_S * factor
        if self.random.random() < 0.01:
            factor *= 20
        return self.random.uniform(0.0002, 0.002) * factor

    def reaches(self, source: str, target: str) -> bool:
        """True if messages from ``source`` reach ``target`` now."""
        return (source, target) not in self.cut

    def sever(self, ways: Iterable[tuple[str, str]]) -> None:
        """Let no message pass from the first to the second name of each pair."""
        self.cut.update(ways)
        self._cut_changed()

    def mend(self, ways: Iterable[tuple[str, str]]) -> None:
        """Restore what ``sever`` has cut."""
        self.cut.difference_update(ways)
        self._cut_changed()

    def on_cut(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` after every change of ``cut``."""
        self._watchers.append(watcher)

    def _cut_changed(self) -> None:
        for watcher in self._watchers:
            watcher()

    def loses(self) -> bool:
        """True if a request to etcd or the store is lost without a partition."""
        return self.loss > 0 and self.random.random() < self.loss
