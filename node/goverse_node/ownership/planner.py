"""The planner: computes the target node of each shard. A pure function of ``Situation``.

Rules, in the order in which they are applied:

1. With fewer living nodes than the quorum, nothing changes.
2. A shard whose target is alive stays. A shard without a living target, or one that is stuck, is placed immediately:
   on the node that still serves it, else on the node it is pinned to, else on the best-ranked node below its share.
3. Shards that are served move only within the limits per round and in flight. In this order: to the nodes they are
   pinned to, away from draining nodes, away from nodes above their bound, to nodes below their bound, and away from
   nodes that are much busier than others. A shard that is already moving is left alone.
4. A draining node gets no shards while another node serves. A pin to a node that cannot take the shard has no effect
   until the node can.

The same situation always gives the same plan. After a plan was carried out, the next plan is empty.
"""

from __future__ import annotations

from goverse_node.ownership import balance
from goverse_node.ownership.draft import Draft
from goverse_node.ownership.situation import Plan, Reason, Situation


def plan(situation: Situation) -> Plan:
    """Return the plan for ``situation``."""
    living, quorum = len(situation.nodes), situation.limits.quorum
    if living < max(1, quorum):
        held = f"placing shards needs {max(1, quorum)} nodes; only {living} are alive"
        return Plan(situation.targets, (), 0, 0.0, held)
    draft = Draft(situation)
    _place_homeless(draft)
    _follow_pins(draft)
    _drain(draft)
    if not draft.last_resort:
        balance.shed_surplus(draft)
        balance.fill_shortage(draft)
        balance.spread_load(draft)
    return draft.plan()


def _place_homeless(draft: Draft) -> None:
    """Place every shard that has no living target, or that its target did not take."""
    homeless: list[tuple[int, Reason]] = []
    for shard, owner in enumerate(draft.owners):
        if owner is None:
            homeless.append((shard, Reason.UNPLACED))
        elif owner not in draft.present:
            homeless.append((shard, Reason.OWNER_GONE))
    for shard, refused in draft.situation.refused.items():
        owner = draft.owners[shard]
        if owner in refused and owner in draft.present:
            homeless.append((shard, Reason.STUCK))
    for shard, reason in homeless:
        target = draft.current_server(shard) or draft.pinned(shard) or draft.place_for(shard)
        if target is not None:
            draft.move(shard, target, reason)


def _follow_pins(draft: Draft) -> None:
    for shard in sorted(draft.situation.pins):
        target = draft.pinned(shard)
        if target is not None and draft.owners[shard] != target and draft.allowed(shard):
            draft.move(shard, target, Reason.PIN)


def _drain(draft: Draft) -> None:
    if not draft.drained:
        return
    for shard, owner in enumerate(draft.owners):
        if owner in draft.drained and draft.allowed(shard):
            target = draft.place_for(shard)
            if target is not None:
                draft.move(shard, target, Reason.DRAIN)
