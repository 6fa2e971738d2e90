"""Measurements on one machine, the results of a run, and the targets.

Throughput is measured in rounds. Each round measures all candidates in turn, so that a noisy minute affects all of
them; the median over the rounds counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import servers
from benchmarks.load import Latency, Throughput, at_rate, wrk
from benchmarks.postgres_commit import Cost
from benchmarks.sends import Rate, Rates
from benchmarks.servers import Server

RATE_PER_S = 500

ECHO, HANDWRITTEN = "raw ASGI echo", "FastAPI + asyncpg upsert"
DURABLE, KEYED, ASYNC, HOT = "durable call", "durable call with a key", "durable call, async method", "one hot object"
PEEK, GET = "read-only call", "GET of the state"
DURABLE_CLUSTER, PEEK_CLUSTER = "durable call, gate + node + PostgreSQL", "read-only call, gate + node"
RESTATE, RAY = "Restate, Python SDK", "Ray Serve (not durable)"

CANDIDATES: dict[str, tuple[str, ...]] = {
    DURABLE: ("increment", "1000"),
    KEYED: ("increment", "1000", "keyed"),
    ASYNC: ("increment_async", "1000"),
    HOT: ("increment", "1"),
    PEEK: ("peek", "1000"),
    GET: ("get", "1000"),
}


@dataclass(frozen=True)
class Target:
    """A minimum ratio between two candidates."""

    name: str
    of: str
    at_least: float


TARGETS = (
    Target(DURABLE, ECHO, 0.35),
    Target(DURABLE, HANDWRITTEN, 3.0),
    Target(PEEK, ECHO, 0.5),
    Target(HOT, DURABLE, 0.7),
)


CLUSTER_TARGETS = (
    Target(DURABLE_CLUSTER, ECHO, 0.30),
    Target(DURABLE_CLUSTER, HANDWRITTEN, 3.0),
    Target(DURABLE_CLUSTER, RESTATE, 5.0),
    Target(DURABLE_CLUSTER, RAY, 10.0),
)

Rounds = dict[str, list[Throughput]]


def calls_per_s(rounds: Rounds, name: str) -> float:
    """Return the median over the rounds."""
    return statistics.median(each.calls_per_s for each in rounds[name])


def ratio(rounds: Rounds, name: str, of: str) -> float:
    """Return the median of the ratios within each round, over the rounds that both candidates took part in."""
    pairs = zip(rounds[name], rounds[of], strict=False)  # candidates with fewer rounds took part in the first ones
    return statistics.median(one.calls_per_s / other.calls_per_s for one, other in pairs)


@dataclass
class Results:
    """All results of one run.

    Attributes:
        rounds, latencies, figures: one machine with the embedded store.
        cluster: throughput of a gate and a node, and of the alternatives.
        growth: throughput of a cluster, by the dimension that grows and its value.
        interruptions: pauses of calls during moves and a failover.
        commits: cost of commits in the store, by variant.
        sends: reliable calls, plain calls beside them, and the work of other systems.
        pending: reliable calls by the number of other pending calls.
        postgres: version of PostgreSQL.
        note: remark about an unusual run.
    """

    rounds: Rounds = field(default_factory=Rounds)
    latencies: dict[str, Latency] = field(default_factory=dict[str, Latency])
    figures: dict[str, float] = field(default_factory=dict[str, float])
    cluster: Rounds = field(default_factory=Rounds)
    growth: dict[str, dict[str, Throughput]] = field(default_factory=dict[str, dict[str, Throughput]])
    interruptions: dict[str, float] = field(default_factory=dict[str, float])
    commits: dict[str, list[Cost]] = field(default_factory=dict[str, list[Cost]])
    sends: Rates = field(default_factory=Rates)
    pending: dict[str, Rate] = field(default_factory=dict[str, Rate])
    postgres: str = ""
    note: str = ""


def throughput(
    results: Results, folder: Path, dsn: str, *, rounds: int, seconds: float, say: Callable[[str], None]
) -> None:
    """Measure all candidates at 64 connections."""
    with servers.echo() as echo, servers.handwritten(dsn) as handwritten, servers.goverse(folder / "calls") as goverse:
        plan: list[tuple[str, Server, tuple[str, ...]]] = [
            (ECHO, echo, CANDIDATES[DURABLE]),
            (HANDWRITTEN, handwritten, CANDIDATES[DURABLE]),
            *((name, goverse, arguments) for name, arguments in CANDIDATES.items()),
        ]
        for _, server, arguments in plan:
            wrk(server.url, arguments, seconds=1)
        for number in range(rounds):
            for name, server, arguments in plan:
                seen = wrk(server.url, arguments, seconds=seconds)
                if seen.errors:
                    raise SystemExit(f"{name}: {seen.errors} responses were errors")
                results.rounds.setdefault(name, []).append(seen)
                say(f"round {number + 1}: {name}: {seen.calls_per_s:,.0f} calls/s, p99 {seen.p99_ms:.1f} ms")


def latency(results: Results, folder: Path, *, seconds: float, say: Callable[[str], None]) -> None:
    """Measure latencies of a warm server and of the echo at a modest fixed rate."""
    with servers.goverse(folder / "latency") as goverse, servers.echo() as echo:
        for name, server, method, body in (
            (ECHO, echo, "increment", b'{"by":1}'),
            ("write", goverse, "increment", b'{"by":1}'),
            ("read", goverse, "peek", b""),
        ):
            path = f"/objects/Counter/c%d/call/{method}"
            at_rate(server.url, path, body, rate_per_s=RATE_PER_S, seconds=2)
            seen = at_rate(server.url, path, body, rate_per_s=RATE_PER_S, seconds=seconds)
            results.latencies[name] = seen
            say(f"{name} at {RATE_PER_S}/s: p50 {seen.p50_ms:.2f} ms, p99 {seen.p99_ms:.2f} ms")


def footprint(results: Results, folder: Path, *, seconds: float, say: Callable[[str], None]) -> None:
    """Measure start time, disk space and memory."""
    data = folder / "footprint"
    with servers.goverse(data) as server:
        results.figures["start to first answer, empty (s)"] = server.started_s
        wrk(server.url, ("increment", "10"), seconds=1)
        before, disk = server.resident_bytes(), _disk_bytes(data)
        made = round(wrk(server.url, ("increment", "1000000000"), seconds=seconds).calls_per_s * seconds)
        results.figures["resident bytes per active object"] = (server.resident_bytes() - before) / made
        results.figures["bytes on disk per call"] = (_disk_bytes(data) - disk) / made
    with servers.goverse(data) as server:
        results.figures[f"start to first answer, {made // 1000} thousand objects (s)"] = server.started_s
    for name, value in results.figures.items():
        say(f"{name}: {value:,.2f}")


def _disk_bytes(folder: Path) -> int:
    """Return the bytes written to the files, without preallocated space."""
    return sum(_used_bytes(path) for path in folder.rglob("*") if path.is_file())


def _used_bytes(path: Path) -> int:
    data = path.read_bytes()
    return len(data.rstrip(b"\x00"))
