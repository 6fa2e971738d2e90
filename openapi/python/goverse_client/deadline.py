"""The deadline of a request without ``async``: each read and write on its connection gets what is left of the time.

An HTTP client bounds each read alone, so headers that trickle, or interim answers without end, would hold a call for
ever. Streams are bounded where httpx says that one was made (its extension ``trace``); they are kept open and used
again, so the deadline is that of whichever request the thread is sending.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

_END: ContextVar[float] = ContextVar("end", default=math.inf)
_MADE: Final = (".connect_tcp.complete", ".start_tls.complete")
_PIECE_BYTES: Final = 256 * 1024


@contextmanager
def within(seconds: float) -> Generator[None]:
    """Bound what this thread reads and writes inside, all of it together.

    Raises:
        TimeoutError: the time is over.
    """
    token = _END.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _END.reset(token)


def trace(event: str, info: Mapping[str, Any]) -> None:
    """Bound each stream that is made; for ``request.extensions["trace"]``."""
    if event.endswith(_MADE):
        bound(info["return_value"])


def bound(stream: Any) -> None:
    """Let ``read`` and ``write`` of a stream end with the time of ``within``."""
    read, write = stream.read, stream.write

    def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = read(max_bytes, _left(timeout))
        return data

    def write_in_time(buffer: bytes, timeout: float | None = None) -> None:
        # In pieces: whoever takes little at a time would else get the whole timeout for each
        for start in range(0, len(buffer), _PIECE_BYTES):
            write(buffer[start : start + _PIECE_BYTES], _left(timeout))

    stream.read, stream.write = read_in_time, write_in_time


def _left(timeout: float | None) -> float:
    left_s = _END.get() - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s if timeout is None else min(timeout, left_s)
