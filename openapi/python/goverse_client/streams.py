"""Patches of httpx's network streams: an overall deadline, and a count of reads.

A stream is patched when httpx reports its creation (the ``trace`` extension). Connections are reused, so deadline and
count are context variables: they belong to the request that the thread or task is sending.

Deadline (synchronous client only): httpx has a timeout for each read, but slow headers or endless interim responses
could still block a call forever. Each read and write therefore gets the remaining time as its timeout.

Reads: if a server or proxy sends more than one response to a request, the surplus stays in the buffer of the
connection, and httpx would take it for the response to the next request. A real response cannot arrive before its
request is sent, so a response that needed no read is a surplus one.
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
    """The number of network reads of a request."""

    count: int = 0


_END: ContextVar[float] = ContextVar("end", default=math.inf)
_READS: ContextVar[Reads | None] = ContextVar("reads", default=None)
_MADE: Final = (".connect_tcp.complete", ".start_tls.complete")
_PIECE_BYTES: Final = 256 * 1024


@contextmanager
def within(seconds: float) -> Generator[None]:
    """Limit the total time of this thread's network reads and writes in the ``with`` block.

    Raises:
        TimeoutError: ``seconds`` have passed.
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
    """Patch each new synchronous stream. Used as ``request.extensions["trace"]``."""
    if event.endswith(_MADE):
        bound(info["return_value"])


async def trace_async(event: str, info: Mapping[str, Any]) -> None:
    """Patch each new asynchronous stream. Used as ``request.extensions["trace"]``."""
    if event.endswith(_MADE):
        _count_reads(info["return_value"])


def bound(stream: Any) -> None:
    """Make ``read`` and ``write`` of a stream respect the deadline of ``within``, and count the reads."""
    read, write = stream.read, stream.write

    def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = read(max_bytes, _left(timeout))
        _counted()
        return data

    def write_in_time(buffer: bytes, timeout: float | None = None) -> None:
        # In pieces: httpx applies the timeout to each partial send, so a slow peer could extend it without limit
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
