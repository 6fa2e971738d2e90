"""How long shards take to open and to close on this node, and how long at most: measured around the rules, which
measure nothing.

* ``shard_open``: from the wish to claim to the published claim, per shard. ``shard_close``: from the first refused turn
  to the last durable one; status ``forced`` where it was not awaited. For that time calls of the shard wait.
* ``shard_claim``, ``shard_publish``, ``shard_check``, ``register``, ``campaign``, ``write_targets``: single requests.
"""

from __future__ import annotations

from collections.abc import Iterable

from goverse.telemetry.durations import SUCCESS, Durations, Timeouts
from goverse_node.ownership.ownership import Ownership
from goverse_node.ownership.phases import Phase

FORCED = "forced"


class ShardTimes:
    """The times of one node's shards.

    Attributes:
        durations: of single requests, and of shards on their way in and out.
        timeouts: what did not end in time.
        longest_close_s: the longest time that a shard took to close.
    """

    def __init__(self) -> None:
        """Have measured nothing."""
        self.durations = Durations("operation", "operations on shards")
        self.timeouts = Timeouts("shard_claim", "shard_close", "drain")
        self.longest_close_s = 0.0
        self._opening: dict[int, float] = {}
        self._closing: dict[int, float] = {}

    def wanted(self, shards: Iterable[int], now: float) -> None:
        """Note that shards are to be opened; one that is tried again goes on with its first time."""
        for shard in shards:
            self._opening.setdefault(shard, now)

    def opened(self, ownership: Ownership, now: float) -> int:
        """Measure the shards that have opened, and return their number; forget those that are not ours any more."""
        opened = 0
        for shard, began in list(self._opening.items()):
            held = ownership.shards.get(shard)
            if held is not None and held.phase in (Phase.CLAIMING, Phase.HELD):
                continue
            del self._opening[shard]
            if held is not None and held.phase is Phase.OPEN:
                opened += 1
                self.durations.record("shard_open", SUCCESS, now - began)
        return opened

    def closing(self, shards: Iterable[int], now: float) -> None:
        """Note that shards begin to close."""
        self._closing.update(dict.fromkeys(shards, now))

    def closed(self, shard: int, now: float) -> None:
        """Measure a shard that is empty."""
        self._ended(shard, SUCCESS, now)

    def dropped(self, shards: Iterable[int], now: float) -> None:
        """Measure those that were to close and were given up by force."""
        for shard in shards:
            if self._ended(shard, FORCED, now):
                self.timeouts.count("shard_close")

    def _ended(self, shard: int, status: str, now: float) -> bool:
        began = self._closing.pop(shard, None)
        if began is None:
            return False
        self.longest_close_s = max(self.longest_close_s, now - began)
        self.durations.record("shard_close", status, now - began)
        return True
