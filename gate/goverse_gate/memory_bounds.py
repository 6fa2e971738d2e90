"""Limits on the memory that all connections of a gate use together.

``Budget`` counts received bytes: pipelined requests that wait, and bodies of requests that are not answered yet. A
request that exceeds the budget gets ``overloaded``.

``Unsent`` counts bytes of responses that clients have not read. Such a response exists already and cannot be refused.
Above the limit, the connection that has been blocked the longest is closed. A client that reads its responses is
blocked only for moments, so clients that do not read are closed first.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final, Protocol

_REPORT_PERIOD_S: Final = 1.0  # between two log lines about closed connections

logger = logging.getLogger("goverse.gate")


class Budget:
    """A number of bytes that is shared by many requests.

    Attributes:
        used: the bytes in use.
        bytes_max: the limit.
    """

    __slots__ = ("bytes_max", "used")

    def __init__(self, bytes_max: int) -> None:
        """Start with no bytes in use."""
        self.used = 0
        self.bytes_max = bytes_max

    @property
    def exceeded(self) -> bool:
        """True while more bytes are in use than the limit allows."""
        return self.used > self.bytes_max


class Reader(Protocol):
    """The connection of a client that has unread responses."""

    def cut(self) -> None:
        """Close the connection and drop its unread responses."""
        ...


class Unsent:
    """Bytes of responses that clients have not read.

    Attributes:
        total: the bytes of all connections.
        bytes_max: the limit for ``total``.
        cuts: the number of connections that were closed because of the limit.
    """

    def __init__(self, bytes_max: int) -> None:
        """Start with no unread bytes."""
        self.total = 0
        self.bytes_max = bytes_max
        self.cuts = 0
        self._sizes: dict[Reader, int] = {}  # in the order in which they became blocked
        self._reported_at = -_REPORT_PERIOD_S
        self._unreported = 0

    def note(self, reader: Reader, size: int) -> None:
        """Record the number of unread bytes of ``reader``; 0 removes it."""
        self.total += size - self._sizes.get(reader, 0)
        if size:
            self._sizes[reader] = size
        else:
            self._sizes.pop(reader, None)

    def enforce(self) -> None:
        """Close connections, the longest blocked first, until the total is within the limit."""
        while self.total > self.bytes_max:
            reader = next(iter(self._sizes))
            self.note(reader, 0)
            reader.cut()
            self.cuts += 1
            self._report()

    def _report(self) -> None:
        self._unreported += 1
        now = monotonic()
        if now - self._reported_at < _REPORT_PERIOD_S:
            return
        self._reported_at = now
        logger.warning(
            "connections cut: clients do not read their answers",
            extra={"connections": self._unreported, "unsent_bytes_max": self.bytes_max},
        )
        self._unreported = 0
