"""A TLS transport that is given its data in slices.

A TLS transport of uvloop or asyncio encrypts whatever it is given at once and hands it to the transport below, where it
is neither counted by ``get_write_buffer_size`` nor seen by ``pause_writing``. A client could then leave megabytes of an
answer untaken while its connection looks idle. Given one slice per turn of the event loop, the transport reports
in time that its client does not read, and what is left of the answer waits here, unencrypted and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from goverse.limits import KIB

SLICE_BYTES: Final = 64 * KIB


class PacedTransport(asyncio.Transport):
    """Wraps the transport of one TLS connection; only what an HTTP server uses of it."""

    def __init__(
        self,
        inner: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        on_blocked: Callable[[], None],
        on_drained: Callable[[], None],
    ) -> None:
        """Write to ``inner``; report when data begins to wait here, and when none waits any more."""
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._on_blocked = on_blocked
        self._on_drained = on_drained
        self._backlog: deque[memoryview] = deque()
        self._size = 0
        self._blocked = False  # the inner transport asked for a pause
        self._pumping = False  # a turn of the loop is arranged
        self._closing = False

    @property
    def blocked(self) -> bool:
        """Part of an answer waits here."""
        return bool(self._backlog)

    def write(self, data: Any) -> None:
        """Write ``data``, or keep what is more than a slice."""
        if self._closing:
            return
        if not self._backlog and not self._blocked and len(data) <= SLICE_BYTES:
            self._inner.write(data)
            return
        first = not self._backlog
        self._backlog.append(memoryview(data))
        self._size += len(data)
        self._pump()
        if first and self._backlog:
            self._on_blocked()

    def pause(self) -> None:
        """Write nothing more until ``resume``."""
        self._blocked = True

    def resume(self) -> None:
        """Write on."""
        self._blocked = False
        self._pump()

    def _pump(self) -> None:
        if self._pumping or self._blocked or not self._backlog or self._inner.is_closing():
            return
        piece = self._backlog[0]
        if len(piece) <= SLICE_BYTES:
            self._backlog.popleft()
        else:
            piece, self._backlog[0] = piece[:SLICE_BYTES], piece[SLICE_BYTES:]
        self._size -= len(piece)
        self._inner.write(piece)
        if self._backlog:
            self._pumping = True
            self._loop.call_soon(self._pump_on)
        elif self._closing:
            self._inner.close()
        elif not self._blocked:  # else the inner transport reports it
            self._on_drained()

    def _pump_on(self) -> None:
        self._pumping = False
        self._pump()

    def close(self) -> None:
        """Close once everything was written."""
        if not self._closing:
            self._closing = True
            if not self._backlog:
                self._inner.close()

    def abort(self) -> None:
        """Close at once and drop what was not written."""
        self._closing = True
        self.drop()
        self._inner.abort()

    def drop(self) -> None:
        """Forget what was not written, and report nothing more."""
        self._backlog.clear()
        self._size = 0
        self._on_blocked = self._on_drained = _ignore

    def is_closing(self) -> bool:
        """Tell whether nothing more can be written."""
        return self._closing or self._inner.is_closing()

    def get_write_buffer_size(self) -> int:
        """Return the bytes that the client has not taken, as far as they are known."""
        return self._size + self._inner.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the sizes at which the client counts as blocked, and as reading again."""
        self._inner.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        """Read nothing more from the socket."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._inner.resume_reading()

    def can_write_eof(self) -> bool:
        """Tell that TLS has no half-closed connections."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known about the connection."""
        return self._inner.get_extra_info(name, default)


def _ignore() -> None:
    """Take note of a connection that is gone."""
