"""A wrapper that writes to a TLS transport in slices, so that unread responses are seen and counted.

The TLS transports of uvloop and asyncio encrypt all data they receive immediately and pass it to the transport below.
There, ``get_write_buffer_size`` does not count it and ``pause_writing`` does not react to it, so a client could leave
megabytes of a response unread while its connection looks idle.

``PacedTransport`` writes one slice per iteration of the event loop. The TLS transport then reports in time that its
client does not read, and the rest of the response waits in ``PacedTransport``, unencrypted and counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from goverse.limits import KIB

SLICE_BYTES: Final = 64 * KIB


class PacedTransport(asyncio.Transport):
    """The transport of one TLS connection, with the methods that an HTTP server uses."""

    def __init__(
        self,
        inner: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        on_blocked: Callable[[], None],
        on_drained: Callable[[], None],
    ) -> None:
        """Write to ``inner``. Call ``on_blocked`` when data starts to wait, and ``on_drained`` when none waits."""
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._on_blocked = on_blocked
        self._on_drained = on_drained
        self._backlog: deque[memoryview] = deque()
        self._size = 0
        self._blocked = False  # the inner transport asked for a pause
        self._pumping = False  # the next slice is scheduled
        self._closing = False

    @property
    def blocked(self) -> bool:
        """True while part of a response waits here."""
        return bool(self._backlog)

    def write(self, data: Any) -> None:
        """Write ``data``, or keep it if it is longer than a slice or other data waits."""
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
        """Stop writing until ``resume``."""
        self._blocked = True

    def resume(self) -> None:
        """Continue writing."""
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
            self._loop.call_soon(self._pump_later)
        elif self._closing:
            self._inner.close()
        elif not self._blocked:  # otherwise the inner transport reports it
            self._on_drained()

    def _pump_later(self) -> None:
        self._pumping = False
        self._pump()

    def close(self) -> None:
        """Close after all data has been written."""
        if not self._closing:
            self._closing = True
            if not self._backlog:
                self._inner.close()

    def abort(self) -> None:
        """Close immediately and drop unwritten data."""
        self._closing = True
        self.drop()
        self._inner.abort()

    def drop(self) -> None:
        """Drop unwritten data and stop calling the callbacks."""
        self._backlog.clear()
        self._size = 0
        self._on_blocked = self._on_drained = _ignore

    def is_closing(self) -> bool:
        """True if no more data can be written."""
        return self._closing or self._inner.is_closing()

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that the client has not read, as far as it is known."""
        return self._size + self._inner.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the buffer sizes at which writing pauses and resumes."""
        self._inner.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        """Stop reading from the socket."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Continue reading from the socket."""
        self._inner.resume_reading()

    def can_write_eof(self) -> bool:
        """False: TLS does not support half-closed connections."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about the connection."""
        return self._inner.get_extra_info(name, default)


def _ignore() -> None:
    """Replace the callbacks of a closed connection."""
