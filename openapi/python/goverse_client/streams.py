"""The network streams of the HTTP client: bounded in time, and with their reads counted.

Streams are changed where httpx says that one was made (its extension ``trace``). They are kept open and used again, so
what holds for them is that of whichever request the thread or task is sending.

Deadlines (without ``async``): an HTTP client bounds each read alone, so headers that trickle, or interim answers
without end, would hold a call for ever. Each read and write gets what is left of the time.

Reads: a server, or a proxy, that sends more than one answer to a request leaves the surplus in the buffer of its
connection, and the HTTP client would take it for the answer to the next request. The answer to a request cannot arrive
before the request was written, so an answer that needed no read is such a surplus.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final


@dataclass
class Reads:
    """How often a request has read from the network."""

    count: int = 0


_END: ContextVar[float] = ContextVar("end", default=math.inf)
_READS: ContextVar[Reads | None] = ContextVar("reads", default=None)
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


@contextmanager
def reading() -> Generator[Reads]:
    """Count the reads of one request."""
    reads = Reads()
    token = _READS.set(reads)
    try:
        yield reads
    finally:
        _READS.reset(token)


def trace_sync(event: str, info: Mapping[str, Any]) -> None:
    """Change each stream that is made without ``async``; for ``request.extensions["trace"]``."""
    if event.endswith(_MADE):
        bound(info["return_value"])


async def trace_async(event: str, info: Mapping[str, Any]) -> None:
    """Change each stream that is made with ``async``; for ``request.extensions["trace"]``."""
    if event.endswith(_MADE):
        _count_reads(info["return_value"])


def bound(stream: Any) -> None:
    """Let ``read`` and ``write`` of a stream end with the time of ``within``, and count the reads."""
    read, write = stream.read, stream.write

    def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = read(max_bytes, _left(timeout))
        _counted()
        return data

    def write_in_time(buffer: bytes, timeout: float | None = None) -> None:
        # In pieces: a peer that takes little at a time would else get the whole timeout for each
        for start in range(0, len(buffer), _PIECE_BYTES):
            write(buffer[start : start + _PIECE_BYTES], _left(timeout))

    stream.read, stream.write = read_in_time, write_in_time


def _count_reads(stream: Any) -> None:
    read = stream.read

    async def read_and_count(max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = await read(max_bytes, timeout)
        _counted()
        return data

    stream.read = read_and_count


def _counted() -> None:
    reads = _READS.get()
    if reads is not None:
        reads.count += 1


def _left(timeout: float | None) -> float:
    left_s = _END.get() - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s if timeout is None else min(timeout, left_s)
