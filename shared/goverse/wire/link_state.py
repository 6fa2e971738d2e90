"""Where a link stands, as whoever routes over it wants to know; the table of it is on top of ``goverse.wire.link``."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from goverse.wire.handshake import Hello


class LinkPhase(StrEnum):
    """Where a link stands; the table is on top of this module."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    BROKEN = "broken"
    CLOSED = "closed"


class LinkState(NamedTuple):
    """What a router wants to know.

    Attributes:
        phase: where the link stands.
        since: since when, on the loop's clock.
        reason: why it is not connected; empty while it is.
        peer: who answers at the address, as it last introduced itself, or None.
        draining: the peer takes no new work; it will hang up.
        silent: the peer was asked for a sign of life, and gave none for as long again.
    """

    phase: LinkPhase
    since: float
    reason: str = ""
    peer: Hello | None = None
    draining: bool = False
    silent: bool = False

    @property
    def usable(self) -> bool:
        """Whether requests are better sent than kept."""
        return self.phase in (LinkPhase.CONNECTING, LinkPhase.CONNECTED) and not self.silent
