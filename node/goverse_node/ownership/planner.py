"""The plan: who should own which shard next. A pure function of the situation.

Rules, in the order in which they are applied:

1. With fewer living nodes than the quorum nothing changes.
2. A shard whose target lives stays. One whose target is gone, that never had one, or that is stuck is placed at once:
   with the node that still serves it, else with the node that suits it best among those below their share.
3. Shards that are served move only within the bounds per round and in flight: to their pins, away from draining
   nodes, from nodes above their bound, to nodes below theirs, away from nodes that have much more to do than others.
   A shard on its way is let alone.
4. A draining node gets nothing while another one serves; a pin to a node that cannot take the shard waits for that
   node.

The same situation gives the same plan, and a plan that came true gives an empty one.
"""

from __future__ import annotations

from goverse_node.ownership import balance
from goverse_node.ownership.draft import Draft
from goverse_node.ownership.situation import Plan, Reason, Situation


def plan(situation: Situation) -> Plan:
    """Return the targets for ``situation``."""
    living, quorum = len(situation.nodes), situation.limits.quorum
    if living < max(1, quorum):
        held = f"{living} of the {max(1, quorum)} nodes that are needed to place shards are there"
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
    """Give every shard a target that lives and takes it."""
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
        target = draft.servant(shard) or draft.pinned(shard) or draft.place_for(shard)
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
