"""Deadlock detection: finds call chains of one node that would wait for each other, before they do.

A nested call that has to queue adds an edge to the wait-for graph: its chain waits for the object's running turns, and
those wait for the objects that they have called. If a path leads back to an object of the chain, no turn on it could
ever continue. The last edge closes a cycle, so a search whenever a nested call is about to queue finds every cycle.
Cycles that span several nodes are not detected; they end at the deadline of a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.model.keys import ObjectKey

if TYPE_CHECKING:
    from goverse_node.runtime.activation import Activation


def closes_cycle(activation: Activation, chain: tuple[ObjectKey, ...]) -> bool:
    """Return True if a call with this chain, queued at ``activation``, would wait for itself."""
    waiting, seen = set(chain), {activation.key}
    reached = [activation]
    while reached:
        for turn in reached.pop().running:
            for key in turn.waits_for:
                if key in waiting:
                    return True
                if key not in seen:
                    seen.add(key)
                    further = activation.node.activations.get(key)
                    if further is not None:
                        reached.append(further)
    return False
