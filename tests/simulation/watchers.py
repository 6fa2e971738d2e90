"""Observers of a whole run, which check its invariants."""

from __future__ import annotations

from collections import defaultdict

from tests.linearizability import Observation, complaints


class Watchers:
    """The events of a run, and the violations in it.

    Attributes:
        found: the violations so far.
        history: the observations of callers, by object.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self.history: dict[int, list[Observation]] = defaultdict(list)
        self.commits = self.fences = self.failures = 0
        self._released: set[tuple[int, int]] = set()
        self._owners: dict[tuple[int, int], str] = {}

    def failed(self) -> None:
        """Count a call without a result."""
        self.failures += 1

    def claimed(self, shard: int, epoch: int, owner: str) -> None:
        """Check that an epoch is given to one owner only."""
        if (shard, epoch) in self._owners:
            self.found.append(f"epoch {epoch} of shard {shard} was given to {self._owners[shard, epoch]} and {owner}")
        self._owners[shard, epoch] = owner

    def committed(self, shard: int, epoch: int, owner: str, newest: int) -> None:
        """Check that a durable record has the newest epoch and comes from the process that claimed it."""
        self.commits += 1
        self._check_released(shard, epoch, owner)
        if epoch != newest:
            self.found.append(f"{owner} committed to shard {shard} with epoch {epoch}; the newest one is {newest}")
        if self._owners.get((shard, epoch)) != owner:
            self.found.append(f"{owner} committed with epoch {epoch} of shard {shard}, which it never claimed")

    def fenced(self, shard: int, epoch: int, owner: str) -> None:
        """Count a record that was refused because of its epoch."""
        self.fences += 1
        self._check_released(shard, epoch, owner)

    def released(self, shard: int, epoch: int) -> None:
        """Note that a node released a shard, which means that all its turns are durable."""
        self._released.add((shard, epoch))

    def _check_released(self, shard: int, epoch: int, owner: str) -> None:
        if (shard, epoch) in self._released:
            self.found.append(f"{owner} gave shard {shard} away, epoch {epoch}, before a turn of it was durable")

    def finish(self, logs: dict[int, tuple[int, ...]]) -> None:
        """Check the observations of the callers against the final logs."""
        for number, history in sorted(self.history.items()):
            self.found.extend(f"object {number}: {line}" for line in complaints(history, logs.get(number, ()))[:5])
