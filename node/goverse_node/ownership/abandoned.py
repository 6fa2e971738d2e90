"""The shards whose last owner may have ended without giving them away. A call in their outboxes may have ended it.

A process withdraws the claim of a shard in etcd before it ends in an orderly way, and every other process sees that. If
the registration of a process ends while it claims shards, it crashed, was killed, or lost its lease: nothing here can
tell, and the quarantine of reliable calls does not need to know (``goverse_node.messages.quarantine``).

Only what this process has seen counts. If a whole cluster is started again, no process has seen how the last owners
ended, so their shards count as abandoned: a call that ends the only node of a cluster would otherwise end each next
one. After an orderly end that costs a wait, and only if calls are pending.
"""

from __future__ import annotations

from collections.abc import Collection

from goverse.cluster.claims import Claims
from goverse.cluster.view import ClusterView


class Abandoned:
    """Follows the claims of all processes."""

    def __init__(self, incarnation: str) -> None:
        """Take the incarnation of this process, which has seen nothing yet."""
        self._incarnation = incarnation
        self._claims: dict[str, Claims] = {}
        self._given_away: set[int] = set()
        self._reloads = 0
        self._seen: tuple[int, int] | None = None

    def follow(self, view: ClusterView) -> None:
        """Compare the claims with those of the last view."""
        if view.reloads != self._reloads:  # what happened in between was not seen
            self._reloads = view.reloads
            self._claims.clear()
            self._given_away.clear()
        seen = view.reloads, view.claims_revision
        if seen == self._seen:
            return
        self._seen = seen
        before, self._claims = self._claims, {each.incarnation: each for each in view.claims.values()}
        changed = [each for each in self._claims.values() if each is not before.get(each.incarnation)]
        for claims in changed:
            if claims.incarnation in before:
                self._given_away |= before[claims.incarnation].epochs.keys() - claims.epochs.keys()
        for claims in changed:
            if claims.incarnation != self._incarnation:  # the own claims are seen before ``take`` is called
                self._given_away -= claims.epochs.keys()

    def take(self, shards: Collection[int]) -> Collection[int]:
        """Return the shards that may have been abandoned, of those that this process has opened."""
        found = set(shards) - self._given_away
        self._given_away.difference_update(shards)
        return found
