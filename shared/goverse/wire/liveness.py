"""Whether the peer is alive: it was received lately, or it answers when asked.

Any envelope is a sign of life. HTTP/2 has pings of its own, but a process whose event loop hangs answers those, so the
question goes through the loop. A process that itself slept (stopped, or its machine suspended) judges nobody by the
time that it missed.
"""

from __future__ import annotations

from enum import Enum, auto


class Verdict(Enum):
    """What to do now."""

    WAIT = auto()
    PING = auto()
    GIVE_UP = auto()


class Liveness:
    """One peer's signs of life."""

    __slots__ = ("_pinged", "_received_at", "_keepalive_s", "_checked_at", "_silence_s_max")

    def __init__(self, now: float, *, keepalive_s: float, silence_s_max: float) -> None:
        """The peer was received just now."""
        self._keepalive_s = keepalive_s
        self._silence_s_max = silence_s_max
        self._received_at = self._checked_at = now
        self._pinged = False

    def received(self, now: float) -> None:
        """Something came from the peer."""
        self._received_at = now
        self._pinged = False

    def look(self, now: float) -> Verdict:
        """Tell what to do; called several times per ``keepalive_s``."""
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
        """Tell whether the peer was asked, and said nothing for as long again."""
        return self._pinged and now - self._received_at >= 2 * self._keepalive_s
