"""Virtual time, processes and the network between them. All randomness comes from one seed.

An event may belong to a process. A process that crashed receives no event from before its restart. A paused process
receives all its events when it continues, like a real one after SIGSTOP.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

Event = Callable[[], None]


class Process:
    """A process that can crash and pause, with a monotonic clock of its own.

    Attributes:
        name: the name of the process.
        life: the number of starts so far.
        alive: True while it runs, paused or not.
        paused_until: the time until which its events are held back, unless `go_on` ends the pause.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.life = 0
        self.alive = False
        self.paused_until = 0.0
        self._held: list[tuple[int, Event]] = []
        self._rate = world.random.uniform(0.998, 1.002)
        self._offset = world.random.uniform(0, 1e6)

    def clock(self) -> float:
        """Return the time of its monotonic clock."""
        return self.world.now * self._rate + self._offset

    def jump(self, seconds: float) -> None:
        """Move its clock forward, as after a suspension of the machine."""
        self._offset += seconds

    def after(self, delay: float, event: Event) -> None:
        """Schedule `event` for this process; a restart cancels it."""
        life = self.life
        self.world.after(delay, lambda: self.take(life, event))

    def take(self, life: int, event: Event) -> None:
        """Run `event` now, or when the pause ends. Ignore it if the process has restarted since `life`."""
        if not self.alive or life != self.life:
            return
        if self.paused_until > self.world.now:
            self._held.append((life, event))
        else:
            event()

    def pause(self, seconds: float) -> None:
        """Hold back all events of the process for a while."""
        self.paused_until = max(self.paused_until, self.world.now + seconds)
        self.world.at(self.paused_until, self.go_on)

    def go_on(self, *, at_once: bool = False) -> None:
        """Run the events that were held back if the pause has ended; `at_once` ends it now."""
        if at_once:
            self.paused_until = self.world.now
        if self.paused_until <= self.world.now:
            held, self._held = self._held, []
            for life, event in held:
                self.take(life, event)


class World:
    """The event queue and the network.

    Attributes:
        now: the virtual time in seconds.
        random: the only source of randomness.
        loss: the fraction of messages that are lost without a partition.
        slow: the factor by which messages are slower, by the name of either end.
        cut: the pairs of source and target between which no message passes.
        trace: the events of the run, newest last.
    """

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.loss = 0.0
        self.slow: dict[str, float] = {}
        self.trace: list[str] = []
        self.cut: set[tuple[str, str]] = set()
        self._queue: list[tuple[float, int, Event]] = []
        self._order = count()

    def at(self, when: float, event: Event) -> None:
        """Schedule `event` at the time `when`."""
        heapq.heappush(self._queue, (when, next(self._order), event))

    def after(self, delay: float, event: Event) -> None:
        """Schedule `event` in `delay` seconds."""
        self.at(self.now + delay, event)

    def run(self, until: float) -> None:
        """Run all events up to the time `until`."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, event = heapq.heappop(self._queue)
            event()
        self.now = until

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.now:9.4f} {text}")

    # --- network ------------------------------------------------------------------------------------------------------

    def delay(self, source: str, target: str) -> float:
        """Return the random duration of a message."""
        factor = max(self.slow.get(source, 1.0), self.slow.get(target, 1.0))
        if self.random.random() < 0.01:
            factor *= 20
        return self.random.uniform(0.0002, 0.002) * factor

    def reaches(self, source: str, target: str) -> bool:
        """True if messages from `source` reach `target` now."""
        return (source, target) not in self.cut

    def send(self, source: str, target: str, event: Event) -> bool:
        """Schedule `event` at `target` after the duration of a message; return False if it is lost on sending."""
        if not self.reaches(source, target) or self.random.random() < self.loss:
            return False

        def arrive() -> None:
            if self.reaches(source, target):
                event()

        self.after(self.delay(source, target), arrive)
        return True
