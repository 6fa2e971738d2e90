"""Leader election: the node that created the ``leader`` key leads until the key is gone.

Rules:

1. A node campaigns only while it sees no leader key. To campaign is to create the key under the node's lease, guarded
   by its absence.
2. A node leads from the moment that it sees its own key. The key's create revision identifies this leadership and
   guards every write of the leader. Two nodes may both believe that they lead, but only one of them can write.
3. The key's value names the node and its incarnation, so a restarted node never mistakes the leadership of its earlier
   process for its own.
"""

from __future__ import annotations

from goverse.limits import CAMPAIGN_RETRY_S


class Election:
    """One node's state in the election."""

    def __init__(self, node: str, incarnation: str) -> None:
        self.value = f"{node} {incarnation}".encode()
        self.leader: str | None = None
        self._revision: int | None = None
        self._asked = False
        self._next_at = float("-inf")

    @property
    def leads(self) -> int | None:
        """The create revision that guards this node's writes as leader; None while it does not lead."""
        return self._revision

    def seen(self, value: bytes | None, create_revision: int) -> None:
        """Record the leader key as seen by the watch; ``value`` is None while the key does not exist."""
        self.leader = value.decode(errors="replace").partition(" ")[0] if value is not None else None
        self._revision = create_revision if value == self.value else None

    def campaigns(self, now: float, *, eligible: bool) -> bool:
        """Return True if the node should try to create the key now; no other try starts until ``answered``."""
        if self.leader is not None or self._asked or not eligible or now < self._next_at:
            return False
        self._asked = True
        return True

    def answered(self, now: float) -> None:
        """Record the end of a try. The watch, not the answer, shows the winner."""
        self._asked = False
        self._next_at = now + CAMPAIGN_RETRY_S
