"""The shards that a node holds, driven by the state machine of ``phases``, with their counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from goverse_node.ownership.phases import NEXT, ShardEvent, ShardPhase


@dataclass(slots=True)
class Held:
    """A shard that is not ABSENT.

    Attributes:
        phase: its phase.
        claimed_at: the revision of the targets for which it was claimed.
        epoch: the epoch that the store granted; 0 while CLAIMING.
        since: time at which it began to close.
        published_under: the lease under which its claim is in etcd, or None.
        sure_under: the lease under which its epoch is known to be the newest, or None.
        checking_under: the lease under which a check of its epoch was started after the publication, or None.
    """

    phase: ShardPhase
    claimed_at: int
    epoch: int = 0
    since: float = 0.0
    published_under: int | None = None
    sure_under: int | None = None
    checking_under: int | None = None


@dataclass(slots=True)
class OwnershipCounts:
    """Totals for metrics: epochs that were granted, and shards that were released, fenced, or given up by force."""

    claims: int = 0
    releases: int = 0
    fenced: int = 0
    forced: int = 0


class Shards(dict[int, Held]):
    """The shards that are not ABSENT, by number.

    A node may have thousands of shards, and most rounds of the keeper change none of them. The results of the queries
    that run in every round are therefore cached until the next change. Code that changes a ``Held`` must call
    ``touch``.

    Attributes:
        counts: totals since the start.
        claiming: the number of shards in CLAIMING.
        changes: a counter that grows with every change.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts = OwnershipCounts()
        self.claiming = 0
        self.changes = 0
        self._epochs: Mapping[int, int] | None = {}
        self._unpublished: tuple[int, bool] | None = None
        self._unsure: tuple[int | None, list[int]] | None = None
        self._closing: dict[int, float] = {}
        self._news_opened: set[int] = set()
        self._news_closing: set[int] = set()
        self._news_dropped: set[int] = set()

    def touch(self) -> None:
        """Record a change and drop the cached results."""
        self.changes += 1
        self._epochs = self._unpublished = self._unsure = None

    def want(self, shard: int, targets_revision: int) -> None:
        """Move an ABSENT shard to CLAIMING."""
        self[shard] = Held(NEXT[ShardPhase.ABSENT, ShardEvent.WANTED], targets_revision)
        self.claiming += 1
        self.touch()

    def granted(self, shard: int, epoch: int) -> None:
        """Record the epoch that the store granted."""
        if self.apply(shard, ShardEvent.GRANTED):
            self[shard].epoch = epoch
            self.touch()
            self.counts.claims += 1

    def apply(self, shard: int, event: ShardEvent, now: float = 0.0) -> bool:
        """Apply ``event`` to ``shard``. Return True if its phase changed."""
        held = self.get(shard)
        after = NEXT.get((held.phase, event)) if held is not None else None
        if held is None or after is None:
            return False
        before, held.phase = held.phase, after
        self.touch()
        self.claiming -= before is ShardPhase.CLAIMING
        if after is ShardPhase.OPEN:
            self._news_opened.add(shard)
        elif before is ShardPhase.OPEN:
            self._news_opened.discard(shard)
        if after is ShardPhase.CLOSING:
            held.since = self._closing[shard] = now
            self._news_closing.add(shard)
        elif after is ShardPhase.ABSENT:
            del self[shard]
            self._closing.pop(shard, None)
            self._news_closing.discard(shard)
            if before in (ShardPhase.OPEN, ShardPhase.CLOSING) and event is not ShardEvent.EMPTIED:
                self._news_dropped.add(shard)
            self.counts.releases += event is ShardEvent.EMPTIED
            self.counts.fenced += event is ShardEvent.FENCED
            self.counts.forced += event is ShardEvent.OVERDUE
        return True

    def take_news(self) -> tuple[set[int], set[int], set[int]]:
        """Return the shards that began to close, those that were lost, and those that opened, since the last call."""
        news = self._news_closing, self._news_dropped, self._news_opened
        self._news_closing, self._news_dropped, self._news_opened = set(), set(), set()
        return news

    def count(self, phase: ShardPhase) -> int:
        """Return the number of shards in ``phase``."""
        return sum(held.phase is phase for held in self.values())

    def epochs(self) -> Mapping[int, int]:
        """Return the epochs that the claims key in etcd should contain."""
        if self._epochs is None:
            self._epochs = {shard: held.epoch for shard, held in self.items() if held.epoch}
        return self._epochs

    def unpublished(self, lease_id: int) -> bool:
        """Return True if a shard with an epoch is not published under this lease."""
        if self._unpublished is None or self._unpublished[0] != lease_id:
            found = any(held.epoch and held.published_under != lease_id for held in self.values())
            self._unpublished = lease_id, found
        return self._unpublished[1]

    def unsure(self, lease_id: int | None) -> list[int]:
        """Return the open shards whose epoch is not known to be the newest under this lease."""
        if self._unsure is None or self._unsure[0] != lease_id:
            answering = {
                shard: held for shard, held in self.items() if held.phase in (ShardPhase.OPEN, ShardPhase.CLOSING)
            }
            found = [
                shard for shard, held in answering.items() if held.sure_under is None or held.sure_under != lease_id
            ]
            self._unsure = lease_id, found
        return self._unsure[1]

    def closing_since(self) -> float | None:
        """Return the time at which the oldest closing shard began to close, or None."""
        return next(iter(self._closing.values()), None)

    def closing_before(self, then: float) -> list[int]:
        """Return the shards that began to close at ``then`` or earlier."""
        return [shard for shard, since in self._closing.items() if since <= then]
