"""Observers of a whole run, which check its invariants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from goverse.model.effects import ANY_VERSION
from goverse.model.records import CommitRecord
from goverse.ports.store import CommitOutcome
from tests.linearizability import Observation, complaints
from tests.simulation.call_log import CallLog


class Watchers:
    """The events of a run, and the violations in it.

    Attributes:
        found: the violations so far.
        history: the observations of callers, by log.
        calls: the log of all reliable calls.
        commits: the number of durable records.
        fences: the number of records of turns that were refused because of their epoch, without those after a late
            claim or that of a process that was leaving. A record about calls alone may be refused: the next owner of
            the shard delivers these calls again and makes the record itself.
        leaving: the processes that were asked to stop.
        failures: the number of calls that failed at their first attempt.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        self.history: dict[str, list[Observation]] = defaultdict(list)
        self.calls = CallLog(self.found)
        self.commits = self.fences = self.failures = 0
        self.leaving: set[str] = set()
        self._owners: dict[tuple[int, int], str] = {}
        self._claimed_at: dict[int, float] = {}
        self._late: set[tuple[int, int]] = set()

    def claimed(self, shard: int, epoch: int, life: str, *, sent_at: float, now: float) -> None:
        """Check that an epoch is given to one process only.

        A claim is late if the one before it arrived while it was on its way: then it was sent for earlier targets.
        """
        if sent_at < self._claimed_at.get(shard, 0.0):
            self._late.add((shard, epoch))
        self._claimed_at[shard] = now
        if (shard, epoch) in self._owners:
            self.found.append(f"epoch {epoch} of shard {shard} was given to {self._owners[shard, epoch]} and {life}")
        self._owners[shard, epoch] = life

    def recorded(self, record: CommitRecord, outcome: CommitOutcome, life: str, newest: int) -> None:
        """Check that a durable record has the newest epoch and comes from the process that claimed it."""
        shard, epoch = record.shard, record.epoch
        if not isinstance(outcome, int):
            # A late claim, or that of a process that was leaving, may arrive after the next owner's, which claims again
            late = (shard, newest) in self._late or self._owners.get((shard, newest)) in self.leaving
            self.fences += outcome.fenced and record.version != ANY_VERSION and not late
            return
        self.commits += 1
        self.calls.recorded(record, outcome)
        if epoch != newest:
            self.found.append(f"{life} committed to shard {shard} with epoch {epoch}; the newest one is {newest}")
        if self._owners.get((shard, epoch)) != life:
            self.found.append(f"{life} committed with epoch {epoch} of shard {shard}, which it never claimed")

    def finish(self, logs: Mapping[str, tuple[int, ...]]) -> None:
        """Check the observations of the callers against the final logs."""
        for name, history in sorted(self.history.items()):
            self.found.extend(f"{name}: {line}" for line in complaints(history, logs.get(name, ()))[:5])
