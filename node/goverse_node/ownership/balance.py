"""Balancing steps of a plan.

Three steps run in this order: move shards away from nodes above their upper bound, move shards to nodes below their
lower bound, and move busy shards from busy nodes to less busy ones.

A step ends when every node is within its bounds, or when no further move is allowed in this round. No step takes a node
out of the bounds that another step has restored, so repeated plans converge.
"""

from __future__ import annotations

import heapq
from typing import Final

from goverse_node.ownership.draft import Draft
from goverse_node.ownership.rendezvous import node_hash, score, shard_hash
from goverse_node.ownership.situation import Reason

_LOAD_UNEVEN: Final = 1.25  # a node is too busy above this multiple of the mean calls per weight,
_LOAD_FLOOR: Final = 0.5  # if it uses at least this share of its processors;
_LOAD_GAIN: Final = 0.95  # after a move, the busier of the two nodes must be below this multiple of the load before


def shed_surplus(draft: Draft) -> None:
    """Move shards away from nodes above their upper bound, worst-ranked shards first."""
    for node in sorted(draft.open):
        surplus = draft.counts[node] - draft.capacity[node].most
        if surplus <= 0:
            continue
        for shard in _by_fit(draft, node, node)[:surplus]:
            target = draft.place_for(shard)
            if target is not None and draft.counts[target] < draft.capacity[target].most and draft.allowed(shard):
                draft.move(shard, target, Reason.SURPLUS)


def fill_shortage(draft: Draft) -> None:
    """Move shards from the fullest nodes to nodes below their lower bound, best-ranked shards first."""
    for node in sorted(draft.willing):
        missing = draft.capacity[node].least - draft.counts[node]
        if missing <= 0:
            continue
        donors = [_Donor(draft, one) for one in draft.open if draft.counts[one] > draft.capacity[one].share]
        heapq.heapify(donors)
        while missing and donors:
            donor = heapq.heappop(donors)
            shard = donor.offer(node)
            if shard is None:
                continue
            missing -= 1
            if draft.allowed(shard):
                draft.move(shard, node, Reason.SHORTAGE)
            if draft.counts[donor.node] > draft.capacity[donor.node].share:
                heapq.heappush(donors, donor)


class _Donor:
    """A node above its share, with the shards that it could give to the node that is being filled."""

    def __init__(self, draft: Draft, node: str) -> None:
        self._draft = draft
        self.node = node
        self._shards: list[int] | None = None

    def __lt__(self, other: _Donor) -> bool:
        return self._draft.fill(self.node) > self._draft.fill(other.node)

    def offer(self, needy: str) -> int | None:
        """Return the next best-ranked shard for ``needy``, or None. Each shard is returned once."""
        if self._shards is None:
            refused = self._draft.situation.refused
            shards = _by_fit(self._draft, self.node, needy)
            self._shards = [shard for shard in shards if needy not in refused.get(shard, ())]
        return self._shards.pop() if self._shards else None


def _by_fit(draft: Draft, owner: str, node: str) -> list[int]:
    """Return the shards of ``owner`` that may move, ranked for ``node``, the best one last."""
    hashed = node_hash(node)
    shards = [shard for shard in draft.belongings.get(owner, ()) if draft.settled(shard)]
    return sorted(shards, key=lambda shard: score(hashed, shard_hash(shard), 1.0), reverse=True)


def spread_load(draft: Draft) -> None:
    """Move busy shards from the busiest nodes to the least busy ones, at most ``load_moves_per_round``."""
    calls = _calls(draft)
    if len(calls) < 2 or not sum(calls.values()):
        return
    weights = {node: draft.situation.nodes[node].weight for node in calls}
    mean = sum(calls.values()) / sum(weights.values())
    left = draft.situation.limits.load_moves_per_round
    for node in sorted(calls, key=lambda one: calls[one] / weights[one], reverse=True):
        load = draft.situation.loads[node]
        for shard, rate in sorted(load.busiest.items(), key=lambda item: (-item[1], item[0])):
            busy = calls[node] / weights[node]
            if not left or busy <= _LOAD_UNEVEN * mean or load.processor < _LOAD_FLOOR:
                break
            target = _least_busy(draft, shard, node, calls)
            if target is None:
                continue
            after = max((calls[node] - rate) / weights[node], (calls[target] + rate) / weights[target])
            if after < _LOAD_GAIN * busy and draft.allowed(shard):
                draft.move(shard, target, Reason.LOAD)
                calls[node] -= rate
                calls[target] += rate
                left -= 1


def _least_busy(draft: Draft, shard: int, node: str, calls: dict[str, float]) -> str | None:
    """Return the least busy node that could take ``shard`` from ``node``, or None if it may not move."""
    if shard >= len(draft.owners) or draft.owners[shard] != node or not draft.settled(shard):
        return None
    if draft.counts[node] <= draft.capacity[node].least:
        return None
    nodes, refused = draft.situation.nodes, draft.situation.refused.get(shard, frozenset())
    roomy = [
        one
        for one in calls
        if one != node and one in draft.willing and one not in refused and draft.counts[one] < draft.capacity[one].most
    ]
    return min(roomy, key=lambda one: (calls[one] / nodes[one].weight, one), default=None)


def _calls(draft: Draft) -> dict[str, float]:
    """Return each node's expected calls per second, after all shards have reached their targets.

    The figures were measured before the latest moves, so a busy shard counts for its target, whichever node reported
    it.
    """
    loads = draft.situation.loads
    calls = {node: loads[node].calls_per_s for node in draft.open if node in loads}
    for node in list(calls):
        for shard, rate in loads[node].busiest.items():
            owner = draft.owners[shard] if shard < len(draft.owners) else node
            if owner != node:
                calls[node] = max(0.0, calls[node] - rate)
                if owner in calls:
                    calls[owner] += rate
    return calls
