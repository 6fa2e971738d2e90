"""Bounds on the memory that all connections of a gate hold together.

``Budget`` counts bytes that clients sent and that wait: pipelined requests, and bodies of requests that are not
answered yet. Beyond the budget a request is refused with ``overloaded``.

``Unsent`` counts bytes of answers that clients have not taken yet. An answer exists already when its size is known, so
nothing can be refused: beyond the bound the connection that has been blocked for the longest time is cut. A client that
reads is blocked for moments only, so the ones that do not read are cut first.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Final, Protocol

_REPORT_PERIOD_S: Final = 1.0  # between two log lines about clients that were cut

logger = logging.getLogger("goverse.gate")


class Budget:
    """A number of bytes that many requests share.

    Attributes:
        used: the bytes that are taken now.
        bytes_max: the bytes that may be taken.
    """

    __slots__ = ("bytes_max", "used")

    def __init__(self, bytes_max: int) -> None:
        """Begin with nothing taken."""
        self.used = 0
        self.bytes_max = bytes_max

    @property
    def exceeded(self) -> bool:
        """More is taken than may be."""
        return self.used > self.bytes_max


class Reader(Protocol):
    """A client's connection, as far as its answers are concerned."""

    def cut(self) -> None:
        """End the connection and drop what it did not take."""
        ...


class Unsent:
    """Bytes of answers that clients have not taken yet.

    Attributes:
        total: the bytes of all connections.
        bytes_max: the bound for ``total``.
        cuts: connections that were cut because of the bound.
    """

    def __init__(self, bytes_max: int) -> None:
        """Begin without any."""
        self.total = 0
        self.bytes_max = bytes_max
        self.cuts = 0
        self._sizes: dict[Reader, int] = {}  # in the order in which they became blocked
        self._reported_at = -_REPORT_PERIOD_S
        self._unreported = 0

    def note(self, reader: Reader, size: int) -> None:
        """Record how much ``reader`` has not taken; 0 forgets it."""
        self.total += size - self._sizes.get(reader, 0)
        if size:
            self._sizes[reader] = size
        else:
            self._sizes.pop(reader, None)

    def enforce(self) -> None:
        """Cut connections, the longest blocked first, until the rest fits the bound."""
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
