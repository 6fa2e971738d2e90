"""The report's sections about clusters, and the throughput table that all sections use."""

from __future__ import annotations

from benchmarks.load import Throughput
from benchmarks.measurements import ECHO, HANDWRITTEN, Results, Rounds, calls_per_s, ratio

THROUGHPUT_HEAD = (
    "| | calls/s | of the echo | of FastAPI + asyncpg | p50 | p99 |",
    "| --- | ---: | ---: | ---: | ---: | ---: |",
)
_GROWTH = {
    "connections": "connections, with one node",
    "state": "bytes of state, with one node and 64 connections",
    "nodes": "nodes, with one gate and 64 connections",
}


def throughput_rows(rounds: Rounds) -> list[str]:
    """Return one table row for each candidate."""
    return [
        f"| {name} | {calls_per_s(rounds, name):,.0f} | {ratio(rounds, name, ECHO):.2f} "
        f"| {ratio(rounds, name, HANDWRITTEN):.1f} | {_latencies(_middle(seen))}"
        for name, seen in rounds.items()
    ]


def _middle(rounds: list[Throughput]) -> Throughput:
    return sorted(rounds, key=lambda each: each.calls_per_s)[len(rounds) // 2]


def _latencies(seen: Throughput) -> str:
    return f"{seen.p50_ms:.1f} ms | {seen.p99_ms:.1f} ms |"


def cluster_sections(results: Results) -> list[str]:
    """Return the lines of the sections about clusters."""
    lines = ["", "## Throughput of a cluster", ""]
    lines += [
        "One gate, one node and PostgreSQL, each a process, share the two cores with the load generator. The first",
        "rounds also measure other systems, each in the fastest configuration that we found (`benchmarks/peers/`).",
        "",
    ]
    lines += [*THROUGHPUT_HEAD, *throughput_rows(results.cluster)]
    for what, found in results.growth.items():
        lines += ["", f"Durable calls by {_GROWTH[what]}:", ""]
        lines += [f"| {what} | calls/s | p50 | p99 |", "| --- | ---: | ---: | ---: |"]
        lines += [f"| {value} | {seen.calls_per_s:,.0f} | {_latencies(seen)}" for value, seen in found.items()]
    lines += [
        "",
        "## Interruptions",
        "",
        "Sixteen objects are called continuously, in a cluster of two nodes with default settings:",
        "",
    ]
    lines += ["| | |", "| --- | ---: |"]
    lines += [f"| {name} | {value:,.1f} |" for name, value in results.interruptions.items()]
    lines += ["", "## Cost of a commit", ""]
    lines += [
        "`python -m benchmarks.postgres_commit`: one connection, one batch after the other. Records per second, and",
        "microseconds of CPU time per record in the server.",
        "",
    ]
    sizes = [each.size for costs in list(results.commits.values())[:1] for each in costs]
    lines += ["| records in a batch | " + " | ".join(map(str, sizes)) + " |", "| --- |" + " ---: |" * len(sizes)]
    for name, costs in results.commits.items():
        cells = " | ".join(f"{each.records_per_s:,.0f}, {each.server_us:.0f} µs" for each in costs)
        lines.append(f"| {name} | {cells} |")
    return lines
