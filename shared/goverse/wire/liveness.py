"""Liveness of a peer: it sent something recently, or it answers a ping.

Any envelope counts. HTTP/2 has pings of its own, but a process with a blocked event loop still answers those, so our
pings go through the event loop. A process that was itself stopped or suspended does not count that time as the peer's
silence.
"""

from __future__ import annotations

from enum import Enum, auto


class Verdict(Enum):
    """The action to take."""

    WAIT = auto()
    PING = auto()
    GIVE_UP = auto()


class Liveness:
    """The liveness of one peer."""

    __slots__ = ("_checked_at", "_keepalive_s", "_pinged", "_received_at", "_silence_s_max")

    def __init__(self, now: float, *, keepalive_s: float, silence_s_max: float) -> None:
        """Start as if the peer had just sent something."""
        self._keepalive_s = keepalive_s
        self._silence_s_max = silence_s_max
        self._received_at = self._checked_at = now
        self._pinged = False

    def received(self, now: float) -> None:
        """Record that an envelope arrived."""
        self._received_at = now
        self._pinged = False

    def check(self, now: float) -> Verdict:
        """Return the action to take; call this several times per ``keepalive_s``."""
        if now - self._checked_at >= self._keepalive_s:
            self.received(now)
        self._checked_at = now
        silence_s = now - self._received_at
        if silence_s >= self._silence_s_max:
            return Verdict.GIVE_UP
        if silence_s >= self._keepalive_s and not self._pinged:
            self._pinged = True
            return Verdict.PING
        return Verdict.WAIT

    def silent(self, now: float) -> bool:
        """True if a ping has been unanswered for another ``keepalive_s``."""
        return self._pinged and now - self._received_at >= 2 * self._keepalive_s
