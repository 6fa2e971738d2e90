"""Durations of opening and closing shards on this node, and of single requests.

Operations that are measured:

* ``shard_open``: from the decision to claim a shard to its published claim.
* ``shard_close``: from the first refused call of a shard to its last durable commit, with status ``forced`` if the node
  did not wait for it. Calls of the shard wait during this time.
* ``shard_claim``, ``shard_publish``, ``shard_check``, ``register``, ``campaign``, ``write_targets``: single requests.
"""

from __future__ import annotations

from collections.abc import Iterable

from goverse.telemetry.durations import SUCCESS, Durations, Timeouts
from goverse_node.ownership.ownership import Ownership
from goverse_node.ownership.phases import ShardPhase

FORCED = "forced"


class ShardTimes:
    """Durations of one node's shards.

    Attributes:
        durations: durations of requests, and of opening and closing shards.
        timeouts: operations that did not end in time.
        longest_close_s: the longest time that a shard took to close.
    """

    def __init__(self) -> None:
        self.durations = Durations("operation", "operations on shards")
        self.timeouts = Timeouts("shard_claim", "shard_close", "drain")
        self.longest_close_s = 0.0
        self._opening: dict[int, float] = {}
        self._closing: dict[int, float] = {}

    def wanted(self, shards: Iterable[int], now: float) -> None:
        """Start the clock for shards that are to be opened. A shard that is claimed again keeps its first start."""
        for shard in shards:
            self._opening.setdefault(shard, now)

    def opened(self, ownership: Ownership, now: float) -> int:
        """Record the shards that have opened since and return their number. Shards that were lost are forgotten."""
        opened = 0
        for shard, began in list(self._opening.items()):
            held = ownership.shards.get(shard)
            if held is not None and held.phase in (ShardPhase.CLAIMING, ShardPhase.HELD):
                continue
            del self._opening[shard]
            if held is not None and held.phase is ShardPhase.OPEN:
                opened += 1
                self.durations.record("shard_open", SUCCESS, now - began)
        return opened

    def closing(self, shards: Iterable[int], now: float) -> None:
        """Start the clock for shards that begin to close."""
        self._closing.update(dict.fromkeys(shards, now))

    def closed(self, shard: int, now: float) -> None:
        """Record a shard that is empty."""
        self._ended(shard, SUCCESS, now)

    def dropped(self, shards: Iterable[int], now: float) -> None:
        """Record the closing shards that were given up by force."""
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
