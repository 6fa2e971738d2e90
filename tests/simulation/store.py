"""A simulated store and shard authority: logs of numbers, stored replies by key, and epochs.

A commit or a claim is atomic and happens when its message arrives. A sender that received no reply to a commit asks for
its outcome by the name of the batch. A batch that had not arrived when it was asked for is refused if it arrives later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.simulation.watchers import Watchers
from tests.simulation.world import Process, World

NAME = "store"
REQUEST_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Record:
    """The changes of one turn; a record without an entry only checks the epoch."""

    shard: int
    epoch: int
    object: int
    expected: int = 0
    entry: int | None = None
    key: str | None = None


class Refused(NamedTuple):
    """The reason why a record failed."""

    fenced: bool
    repeated: bool = False


class SimulatedStore:
    """Objects, stored replies and epochs. `fenced=False` plants a bug that the watchers must notice."""

    def __init__(self, world: World, watchers: Watchers, *, fenced: bool) -> None:
        self.world = world
        self.watchers = watchers
        self.logs: dict[int, tuple[int, ...]] = {}
        self.replies: dict[tuple[int, str], tuple[int, ...]] = {}
        self.holdings: dict[int, tuple[str, int]] = {}
        self.delay_s = 0.0
        self._fenced = fenced
        self._batches: dict[str, Sequence[Any] | None] = {}

    def request(self, process: Process, apply: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run `apply` in the store and pass its result to `done`, or None after a timeout."""
        answered = False
        life = process.life

        def finish(result: Any) -> None:
            nonlocal answered
            if not answered:
                answered = True
                done(result)

        def serve() -> None:
            result = apply()
            self.world.send(NAME, process.name, lambda: process.take(life, lambda: finish(result)))

        def queue() -> None:
            self.world.after(self.delay_s * self.world.random.random(), serve)

        self.world.send(process.name, NAME, queue)
        process.after(REQUEST_TIMEOUT_S, lambda: finish(None))

    def claim(self, shards: Sequence[int], owner: str) -> dict[int, int]:
        """Raise the epochs of shards for `owner`; return them."""
        for shard in shards:
            epoch = self.holdings.get(shard, ("", 0))[1] + 1
            self.holdings[shard] = owner, epoch
            self.watchers.claimed(shard, epoch, owner)
        return {shard: self.holdings[shard][1] for shard in shards}

    def held_by(self, owner: str) -> dict[int, int]:
        """Return the epochs of the shards whose last claim was by `owner`."""
        return {shard: epoch for shard, (holder, epoch) in self.holdings.items() if holder == owner}

    def commit(self, batch: str, owner: str, records: Sequence[Record]) -> Sequence[Any]:
        """Apply the records. Return one outcome for each: the entries, or the reason of its refusal."""
        if batch in self._batches:
            return self._batches[batch] or ()
        outcomes = [self._apply(record, owner) for record in records]
        self._batches[batch] = outcomes
        return outcomes

    def resolve(self, batch: str) -> tuple[bool, Sequence[Any]]:
        """Return whether a batch arrived, and its outcomes. If it did not, refuse it from now on."""
        found = self._batches.setdefault(batch, None)
        return found is not None, found or ()

    def _apply(self, record: Record, owner: str) -> Any:
        current = self.holdings.get(record.shard, ("", 0))[1]
        if self._fenced and record.epoch != current:
            if record.entry is not None:
                self.watchers.fenced(record.shard, record.epoch, owner)
            return Refused(fenced=True)
        entries = self.logs.get(record.object, ())
        if record.entry is None:
            return entries
        if record.key is not None and (record.object, record.key) in self.replies:
            return Refused(fenced=False, repeated=True)
        if len(entries) != record.expected:
            return Refused(fenced=False)
        self.watchers.committed(record.shard, record.epoch, owner, current)
        entries = self.logs[record.object] = (*entries, record.entry)
        if record.key is not None:
            self.replies[record.object, record.key] = entries
        return entries
