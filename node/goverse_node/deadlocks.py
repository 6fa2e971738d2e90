"""Who waits for whom: finds two call chains of one node that wait for each other, before they do.

A nested call that has to queue adds an edge: its chain waits for the object's running turns, and those wait for the
objects that they have called. If that leads back to an object of the chain, nobody would ever go on. A cycle is closed
by its last edge, so it is enough to look whenever a nested call is about to queue. Cycles over several nodes end with
the deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from goverse.model.keys import ObjectKey

if TYPE_CHECKING:
    from goverse_node.activation import Activation


def closes_cycle(activation: Activation, chain: tuple[ObjectKey, ...]) -> bool:
    """Whether a call with this chain, queued at ``activation``, would wait for itself."""
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
