"""Load generators: wrk for maximum throughput, and our own client for latencies at a fixed rate."""

from __future__ import annotations

import asyncio
import math
import re
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import uvloop

TIMER_S = 0.002
SCRIPT = Path(__file__).with_name("calls.lua")


@dataclass(frozen=True)
class Throughput:
    """Result of one run of wrk."""

    calls_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def wrk(
    url: str, arguments: Sequence[str], *, seconds: float, connections: int = 64, prefix: Sequence[str] = ()
) -> Throughput:
    """Send calls over ``connections`` connections from one thread, each as soon as the previous one has ended.

    ``prefix`` is put before the command, for example to run it in a network namespace.
    """
    command = wrk_command(url, arguments, seconds=seconds, connections=connections, prefix=prefix)
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", printed)
    if rate is None:
        raise SystemExit(f"wrk printed no rate:\n{printed}")
    return Throughput(
        float(rate[1]), _latency_ms(printed, "50"), _latency_ms(printed, "99"), int(errors[1]) if errors else 0
    )


def wrk_command(
    url: str, arguments: Sequence[str], *, seconds: float, connections: int, prefix: Sequence[str]
) -> list[str]:
    """Return the command of ``wrk``."""
    options = ["-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--latency", "-s", str(SCRIPT)]
    return [*prefix, "wrk", *options, url, "--", *arguments]


def _latency_ms(printed: str, percentile: str) -> float:
    found = re.search(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s)\s*$", printed, re.MULTILINE)
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]] if found else float("nan")


@dataclass(frozen=True)
class Latency:
    """Latencies at a fixed rate, in milliseconds from the time at which a call was due to its response."""

    rate_per_s: int
    calls: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


def at_rate(url: str, path: str, body: bytes, *, rate_per_s: int, seconds: float) -> Latency:
    """Send calls at a fixed rate, even if earlier calls have not ended (no coordinated omission)."""
    return uvloop.run(_at_rate(url, path, body, rate_per_s, seconds))


async def _at_rate(url: str, path: str, body: bytes, rate_per_s: int, seconds: float) -> Latency:
    host, port = url.removeprefix("http://").split(":")
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    opened: list[asyncio.StreamWriter] = []
    taken: list[float] = []

    async def one(due: float, index: int) -> None:
        while idle and idle[-1][0].at_eof():  # idle for seconds, so the server closed it
            idle.pop()
        if not idle:
            idle.append(await asyncio.open_connection(host, int(port)))
            opened.append(idle[-1][1])
        reader, writer = idle.pop()
        head = f"POST {path % (index % 1000)} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", answer)
        await reader.readexactly(int(length[1]) if length else 0)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"unexpected response: {answer!r}")
        taken.append(perf_counter() - due)
        idle.append((reader, writer))

    began, total = perf_counter() + 0.1, round(rate_per_s * seconds)
    try:
        async with asyncio.TaskGroup() as group:
            for index in range(total):
                due = began + index / rate_per_s
                await _until(due)
                group.create_task(one(due, index))
    finally:
        for writer in opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in opened), return_exceptions=True)
    cuts = statistics.quantiles(taken, n=100)
    return Latency(rate_per_s, total, cuts[49] * 1e3, cuts[98] * 1e3, max(taken) * 1e3)


async def _until(due: float) -> None:
    """Wait precisely: the loop's timers are up to a millisecond late, which must not count as latency of the server."""
    await asyncio.sleep(max(0.0, due - perf_counter() - TIMER_S))
    while perf_counter() < due:  # noqa: ASYNC110  # waits for a point in time, not for an event
        await asyncio.sleep(0)
