"""Shards on their way from owner to owner, as the leader sees them: since when, and which are stuck.

A shard is on its way while its target lives and does not claim it. It is stuck when that lasts too long without news of
it; then either its owner does not let go or its target does not take it, and the leader takes the target back: the
shard goes to whoever serves it, else to another node, and the node that did not take it is passed over for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from goverse.cluster.targets import Targets


class Move(NamedTuple):
    """One shard on its way."""

    source: str | None
    target: str
    since: float


@dataclass(slots=True)
class MoveCounts:
    """Totals for metrics: moves that arrived, and moves that were stuck."""

    migrations: int = 0
    stuck: int = 0


@dataclass(slots=True)
class Moves:
    """All shards on their way.

    Attributes:
        under_way: by shard.
        counts: totals, of earlier leaderships as well.
    """

    stuck_after_s: float
    avoid_s: float
    under_way: dict[int, Move] = field(default_factory=dict[int, Move])
    counts: MoveCounts = field(default_factory=MoveCounts)
    _refusals: dict[int, dict[str, float]] = field(default_factory=dict[int, dict[str, float]])

    def begin(self, shard: int, source: str | None, target: str, now: float) -> None:
        """Note a move that was decided: it may have arrived before anybody looks again."""
        self.under_way[shard] = Move(source, target, now)

    def follow(self, targets: Targets, claimants: Sequence[str | None], now: float) -> None:
        """Take in who serves what, and who should."""
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
        """Return the shards that have been on their way for too long."""
        return [shard for shard, one in self.under_way.items() if now - one.since >= self.stuck_after_s]

    def refuse_stuck(self, now: float) -> dict[int, frozenset[str]]:
        """Pass over the targets of stuck shards for a while; return all nodes that are passed over, by shard."""
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
        """Return when shards will be stuck, or are not passed over any more."""
        since = min((one.since for one in self.under_way.values()), default=None)
        times = [until for passed_over in self._refusals.values() for until in passed_over.values()]
        if since is not None:
            times.append(since + self.stuck_after_s)
        return [at for at in times if at > now]
