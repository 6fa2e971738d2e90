"""Moves of shards from node to node, as the leader tracks them, and detection of stuck moves.

A shard is moving while its target is alive and does not claim it. A move is stuck if neither its target nor its
claimant has changed for ``stuck_after_s``. Then either the owner does not release the shard or the target does not take
it, and the leader withdraws the target: the shard goes to the node that serves it, else to another node. The node that
did not take it gets no shards for ``avoid_s``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from goverse.cluster.targets import Targets


class Move(NamedTuple):
    """A move in progress. ``source`` is the node that claims the shard, or None."""

    source: str | None
    target: str
    since: float


@dataclass(slots=True)
class MoveCounts:
    """Totals for metrics: completed moves, and moves that were stuck."""

    migrations: int = 0
    stuck: int = 0


@dataclass(slots=True)
class Moves:
    """All moves in progress.

    Attributes:
        stuck_after_s: time without a change after which a move is stuck.
        avoid_s: time for which the target of a stuck move gets no shards.
        under_way: moves in progress, by shard.
        counts: totals, including earlier leaderships of this process.
    """

    stuck_after_s: float
    avoid_s: float
    under_way: dict[int, Move] = field(default_factory=dict[int, Move])
    counts: MoveCounts = field(default_factory=MoveCounts)
    _refusals: dict[int, dict[str, float]] = field(default_factory=dict[int, dict[str, float]])

    def begin(self, shard: int, source: str | None, target: str, now: float) -> None:
        """Record a move that was decided. It may be complete before the next ``follow``, and is still counted."""
        self.under_way[shard] = Move(source, target, now)

    def follow(self, targets: Targets, claimants: Sequence[str | None], now: float) -> None:
        """Compare targets and claimants: start new moves, and count those that are complete."""
        before, self.under_way = self.under_way, {}
        for shard, (target, claimant) in enumerate(zip(targets.owners(), claimants, strict=True)):
            if target == claimant or target is None:
                continue
            known = before.get(shard)
            if known is not None and known.target == target and known.source == claimant:
                self.under_way[shard] = known
            else:
                self.under_way[shard] = Move(claimant, target, now)
        for shard, move in before.items():
            if claimants[shard] == move.target and shard not in self.under_way:
                self.counts.migrations += 1

    def stuck(self, now: float) -> list[int]:
        """Return the shards whose move is stuck."""
        return [shard for shard, one in self.under_way.items() if now - one.since >= self.stuck_after_s]

    def refuse_stuck(self, now: float) -> dict[int, frozenset[str]]:
        """Exclude the targets of stuck moves for ``avoid_s``. Return all excluded nodes, by shard."""
        for shard in self.stuck(now):
            passed_over = self._refusals.setdefault(shard, {})
            target = self.under_way[shard].target
            if passed_over.get(target, now) <= now:
                self.counts.stuck += 1
                passed_over[target] = now + self.avoid_s
        found: dict[int, frozenset[str]] = {}
        for shard, passed_over in list(self._refusals.items()):
            lasting = frozenset(node for node, until in passed_over.items() if until > now)
            if lasting:
                found[shard] = lasting
            else:
                del self._refusals[shard]
        return found

    def changes_at(self, now: float) -> list[float]:
        """Return the times at which the next move becomes stuck, and at which exclusions end."""
        since = min((one.since for one in self.under_way.values()), default=None)
        times = [until for passed_over in self._refusals.values() for until in passed_over.values()]
        if since is not None:
            times.append(since + self.stuck_after_s)
        return [at for at in times if at > now]
