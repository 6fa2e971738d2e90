"""Whether the peer is alive: it was heard lately, or it answers when asked.

Any envelope is a sign of life. HTTP/2 has pings of its own, but a process whose event loop hangs answers those, so the
question goes through the loop. A process that itself slept (stopped, or its machine suspended) judges nobody by the
time that it missed.
"""

from __future__ import annotations

from enum import Enum, auto


class Verdict(Enum):
    """What to do now."""

    WAIT = auto()
    ASK = auto()
    GIVE_UP = auto()


class Liveness:
    """One peer's signs of life."""

    __slots__ = ("_asked", "_heard", "_keepalive_s", "_looked", "_silence_s_max")

    def __init__(self, now: float, *, keepalive_s: float, silence_s_max: float) -> None:
        """The peer was heard just now."""
        self._keepalive_s = keepalive_s
        self._silence_s_max = silence_s_max
        self._heard = self._looked = now
        self._asked = False

    def heard(self, now: float) -> None:
        """Something came from the peer."""
        self._heard = now
        self._asked = False

    def look(self, now: float) -> Verdict:
        """Tell what to do; called several times per ``keepalive_s``."""
        if now - self._looked >= self._keepalive_s:
            self.heard(now)
        self._looked = now
        silence_s = now - self._heard
        if silence_s >= self._silence_s_max:
            return Verdict.GIVE_UP
        if silence_s >= self._keepalive_s and not self._asked:
            self._asked = True
            return Verdict.ASK
        return Verdict.WAIT

    def silent(self, now: float) -> bool:
        """Tell whether the peer was asked, and said nothing for as long again."""
        return self._asked and now - self._heard >= 2 * self._keepalive_s
