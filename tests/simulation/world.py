"""Virtual time, processes and the network between them; everything that is random comes from one seed.

An event belongs to a process or to nobody. A process that crashed gets none of the events meant for its earlier life;
one that is paused gets them all, late, when it goes on: as a real one does under SIGSTOP.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

Event = Callable[[], None]


class Process:
    """Something that can crash, pause, and whose clock is its own.

    Attributes:
        name: what it is called.
        life: grows with every start; 0 before the first.
        alive: it runs, paused or not.
        paused_until: events wait until then, or until it is told to go on.
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
        """Return its monotonic clock."""
        return self.world.now * self._rate + self._offset

    def jump(self, seconds: float) -> None:
        """Let its clock leap forward, as after a suspended machine."""
        self._offset += seconds

    def after(self, delay: float, event: Event) -> None:
        """Have `event` happen to this life of the process."""
        life = self.life
        self.world.after(delay, lambda: self.take(life, event))

    def take(self, life: int, event: Event) -> None:
        """Let `event` happen now, or when the pause ends, if this life still goes on."""
        if not self.alive or life != self.life:
            return
        if self.paused_until > self.world.now:
            self._held.append((life, event))
        else:
            event()

    def pause(self, seconds: float) -> None:
        """Let nothing happen to it for a while."""
        self.paused_until = max(self.paused_until, self.world.now + seconds)
        self.world.at(self.paused_until, self.go_on)

    def go_on(self, *, at_once: bool = False) -> None:
        """Take what was held back, once the pause is over."""
        if at_once:
            self.paused_until = self.world.now
        if self.paused_until <= self.world.now:
            held, self._held = self._held, []
            for life, event in held:
                self.take(life, event)


class World:
    """The event queue, and who cannot reach whom.

    Attributes:
        now: virtual seconds.
        random: the one source of chance.
        loss: the part of messages that are lost without a partition.
        slow: how many times longer messages take, by name of either end.
        trace: what happened, newest last; kept short.
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
        """Have `event` happen at `when`."""
        heapq.heappush(self._queue, (when, next(self._order), event))

    def after(self, delay: float, event: Event) -> None:
        """Have `event` happen in `delay` seconds."""
        self.at(self.now + delay, event)

    def run(self, until: float) -> None:
        """Let everything happen up to `until`."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, event = heapq.heappop(self._queue)
            event()
        self.now = until

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.now:9.4f} {text}")

    # --- network ------------------------------------------------------------------------------------------------------

    def delay(self, source: str, target: str) -> float:
        """Return how long a message takes."""
        factor = max(self.slow.get(source, 1.0), self.slow.get(target, 1.0))
        if self.random.random() < 0.01:
            factor *= 20
        return self.random.uniform(0.0002, 0.002) * factor

    def reaches(self, source: str, target: str) -> bool:
        """Tell whether messages get through from `source` to `target` now."""
        return (source, target) not in self.cut

    def send(self, source: str, target: str, event: Event) -> bool:
        """Have `event` happen at `target` after a while, unless the message is lost; tell whether it left."""
        if not self.reaches(source, target) or self.random.random() < self.loss:
            return False

        def arrive() -> None:
            if self.reaches(source, target):
                event()

        self.after(self.delay(source, target), arrive)
        return True
