"""The database's clock, by which kept replies expire: that of a machine may be wrong by hours, and nodes share replies.

What a node says in its own time is written in the database's, and read back in its own. So a node whose clock is wrong
neither forgets what others keep nor keeps what they may not count on.
"""

from __future__ import annotations

from typing import Any, Final

from goverse.ports.clock import Clock

_ASK: Final = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"


class DatabaseClock:
    """Tells the database's time, by this machine's clock and what it differed by when they were compared.

    Attributes:
        ahead_ms: how far this machine's clock is ahead.
    """

    def __init__(self, clock: Clock) -> None:
        """Trust ``clock`` until it is compared."""
        self.ahead_ms = 0
        self._clock = clock

    def now_ms(self) -> int:
        """Return the database's milliseconds since the epoch."""
        return self._clock.wall_ms() - self.ahead_ms

    async def compare(self, connection: Any) -> None:
        """Ask the database what time it is; a slow answer makes this clock seem ahead by as much at most."""
        now_ms = await connection.fetchval(_ASK)
        self.ahead_ms = self._clock.wall_ms() - now_ms
