"""What a node has of each shard, kept by the table of ``phases``, and what it counts of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from goverse_node.ownership.phases import NEXT, Event, Phase


@dataclass(slots=True)
class Held:
    """One shard that is not absent.

    Attributes:
        phase: where it stands.
        claimed_at: the revision of the targets for which it was claimed.
        epoch: the epoch that the store gave; 0 while it is being asked.
        since: when it began to close.
        published_under: the lease under which etcd names it, or None.
        sure_under: the lease under which its epoch is known to be the newest, or None.
        checking_under: the lease under which a check of its epoch was begun after it was published, or None.
    """

    phase: Phase
    claimed_at: int
    epoch: int = 0
    since: float = 0.0
    published_under: int | None = None
    sure_under: int | None = None
    checking_under: int | None = None


@dataclass(slots=True)
class OwnershipCounts:
    """Totals for metrics: epochs claimed, shards given away, fenced off, given up by force."""

    claims: int = 0
    releases: int = 0
    fenced: int = 0
    forced: int = 0


class Shards(dict[int, Held]):
    """The shards that are not absent.

    Most looks find nothing new, and a node may have thousands of shards: what is asked at every look is remembered
    until something changes. Whoever changes a ``Held`` says so with ``touch``.

    Attributes:
        counts: totals since the start.
        claiming: how many the store is being asked for.
        changes: grows with every change.
    """

    def __init__(self) -> None:
        """Have none."""
        super().__init__()
        self.counts = OwnershipCounts()
        self.claiming = 0
        self.changes = 0
        self._epochs: Mapping[int, int] | None = {}
        self._unpublished: tuple[int, bool] | None = None
        self._unsure: tuple[int | None, list[int]] | None = None
        self._closing: dict[int, float] = {}
        self._news_closing: set[int] = set()
        self._news_dropped: set[int] = set()

    def touch(self) -> None:
        """Note that something changed."""
        self.changes += 1
        self._epochs = self._unpublished = self._unsure = None

    def want(self, shard: int, targets_revision: int) -> None:
        """Begin to claim an absent shard."""
        self[shard] = Held(NEXT[Phase.ABSENT, Event.WANTED], targets_revision)
        self.claiming += 1
        self.touch()

    def granted(self, shard: int, epoch: int) -> None:
        """Note the epoch that the store gave."""
        if self.turn(shard, Event.GRANTED):
            self[shard].epoch = epoch
            self.touch()
            self.counts.claims += 1

    def turn(self, shard: int, event: Event, now: float = 0.0) -> bool:
        """Let ``event`` happen to ``shard``; tell whether it changed anything."""
        held = self.get(shard)
        after = NEXT.get((held.phase, event)) if held is not None else None
        if held is None or after is None:
            return False
        before, held.phase = held.phase, after
        self.touch()
        self.claiming -= before is Phase.CLAIMING
        if after is Phase.CLOSING:
            held.since = self._closing[shard] = now
            self._news_closing.add(shard)
        elif after is Phase.ABSENT:
            del self[shard]
            self._closing.pop(shard, None)
            self._news_closing.discard(shard)
            if before in (Phase.OPEN, Phase.CLOSING) and event is not Event.EMPTIED:
                self._news_dropped.add(shard)
            self.counts.releases += event is Event.EMPTIED
            self.counts.fenced += event is Event.FENCED
            self.counts.forced += event is Event.OVERDUE
        return True

    def take_news(self) -> tuple[set[int], set[int]]:
        """Return the shards that began to close, and those that were lost, since the last time."""
        news = self._news_closing, self._news_dropped
        self._news_closing, self._news_dropped = set(), set()
        return news

    def count(self, phase: Phase) -> int:
        """Return how many shards stand there."""
        return sum(held.phase is phase for held in self.values())

    def epochs(self) -> Mapping[int, int]:
        """Return what the claims in etcd should say."""
        if self._epochs is None:
            self._epochs = {shard: held.epoch for shard, held in self.items() if held.epoch}
        return self._epochs

    def unpublished(self, lease_id: int) -> bool:
        """Tell whether any shard is not published under this lease."""
        if self._unpublished is None or self._unpublished[0] != lease_id:
            found = any(held.epoch and held.published_under != lease_id for held in self.values())
            self._unpublished = lease_id, found
        return self._unpublished[1]

    def unsure(self, lease_id: int | None) -> list[int]:
        """Return the open shards whose epoch is not known to be the newest under this lease."""
        if self._unsure is None or self._unsure[0] != lease_id:
            answering = {shard: held for shard, held in self.items() if held.phase in (Phase.OPEN, Phase.CLOSING)}
            found = [
                shard for shard, held in answering.items() if held.sure_under is None or held.sure_under != lease_id
            ]
            self._unsure = lease_id, found
        return self._unsure[1]

    def closing_since(self) -> float | None:
        """Return since when the shard has been closing that began first."""
        return next(iter(self._closing.values()), None)

    def closing_before(self, then: float) -> list[int]:
        """Return the shards that have been closing since ``then`` or longer."""
        return [shard for shard, since in self._closing.items() if since <= then]
