"""Deadlock detection: finds call chains of one node that would wait for each other, before they do.

A nested call that has to queue adds an edge to the wait-for graph: its chain waits for the object's running turns, and
those wait for the objects that they have called. If a path leads back to an object of the chain, no turn on it could
ever continue. The last edge closes a cycle, so a search whenever a nested call is about to queue finds every cycle.
Cycles that span several nodes are not detected; they end at the deadline of a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from goverse.model.keys import ObjectKey
from goverse_node.runtime.turn import Turn


def closes_cycle(key: ObjectKey, chain: tuple[ObjectKey, ...], turns_of: Callable[[ObjectKey], Sequence[Turn]]) -> bool:
    """Return True if a call with this chain, queued at the object ``key``, would wait for itself.

    ``turns_of`` returns the running turns of an object, none if the object is not in memory.
    """
    waiting, seen = set(chain), {key}
    reached = [key]
    while reached:
        for turn in turns_of(reached.pop()):
            for called in turn.waits_for:
                if called in waiting:
                    return True
                if called not in seen:
                    seen.add(called)
                    reached.append(called)
    return False
