"""The state of a link as routers see it; the state diagram is in ``goverse.wire.link``."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from goverse.wire.handshake import Hello


class LinkPhase(StrEnum):
    """A phase of a link; the diagram is in ``goverse.wire.link``."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    BROKEN = "broken"
    CLOSED = "closed"


class LinkState(NamedTuple):
    """The state of a link.

    Attributes:
        phase: the current phase.
        since: start of the phase, on the event loop's clock.
        reason: why the link is not connected; empty while it is.
        peer: the peer's last hello, or None.
        draining: True while the peer accepts no new work because it will close.
        silent: True while a ping has been unanswered for as long as the silence that caused it.
    """

    phase: LinkPhase
    since: float
    reason: str = ""
    peer: Hello | None = None
    draining: bool = False
    silent: bool = False

    @property
    def usable(self) -> bool:
        """True while requests should be sent rather than parked."""
        return self.phase in (LinkPhase.CONNECTING, LinkPhase.CONNECTED) and not self.silent
