"""Who leads: whoever created the ``leader`` key, until that key is gone.

Rules:

1. A node campaigns (creates the key, under its lease, if it is not there) only while it sees no such key.
2. It leads from the moment that it knows its own key to be there; the key's create revision names this leadership, and
   every write of the leader is guarded by it. So two nodes may believe that they lead, but only one can write.
3. The key's value names node and incarnation, so that nobody takes an earlier process's leadership for its own.
"""

from __future__ import annotations

from goverse.limits import CAMPAIGN_RETRY_S


class Election:
    """One node's part in the election."""

    def __init__(self, node: str, incarnation: str) -> None:
        """Take part as ``node``."""
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
        """Take note of the leader key as the watch shows it; ``value`` is None where there is none."""
        self.leader = value.decode(errors="replace").partition(" ")[0] if value is not None else None
        self._revision = create_revision if value == self.value else None

    def campaigns(self, now: float, *, eligible: bool) -> bool:
        """Tell whether to try to create the key now; then the answer is awaited before another try."""
        if self.leader is not None or self._asked or not eligible or now < self._next_at:
            return False
        self._asked = True
        return True

    def answered(self, now: float) -> None:
        """Note the end of a try, however it ended: who won is told by the watch."""
        self._asked = False
        self._next_at = now + CAMPAIGN_RETRY_S
