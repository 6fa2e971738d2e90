"""The report of a benchmark run: ``docs/performance.md``, and ``benchmarks/results.json`` for later comparisons."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cluster_report import THROUGHPUT_HEAD, cluster_sections, throughput_rows
from benchmarks.measurements import CLUSTER_TARGETS, ECHO, TARGETS, Results, ratio
from benchmarks.sends_report import sends_section
from benchmarks.sends_report import verdicts as sends_verdicts

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "benchmarks" / "results.json"
LIMITS = ROOT / "benchmarks" / "limits.md"
SLACK = 0.8  # a ratio below this fraction of the recorded ratio is a regression


def verdicts(results: Results) -> list[tuple[str, float, float, bool]]:
    """Return (name, ratio, target, reached) for each target whose two sides were both measured."""
    found: list[tuple[str, float, float, bool]] = []
    for rounds, targets in ((results.rounds, TARGETS), (results.cluster, CLUSTER_TARGETS)):
        for target in targets:
            if target.name in rounds and target.of in rounds:
                reached = ratio(rounds, target.name, target.of)
                found.append((f"{target.name} / {target.of}", reached, target.at_least, reached >= target.at_least))
    return found + sends_verdicts(results)


def ratios(results: Results) -> dict[str, float]:
    """Return each candidate's ratio to the raw ASGI echo."""
    return {
        name: round(ratio(rounds, name, ECHO), 3) for rounds in (results.cluster, results.rounds) for name in rounds
    }


def regressions(results: Results) -> list[str]:
    """Return a line for each ratio that is more than a fifth below the recorded one."""
    recorded: dict[str, float] = json.loads(FIGURES.read_text(encoding="utf-8"))["ratios"]
    present = ratios(results)
    return [
        f"{name}: {present[name]:.2f} of the echo, previously {before:.2f}"
        for name, before in recorded.items()
        if name in present and present[name] < SLACK * before
    ]


def write(results: Results, command: str) -> None:
    """Write both files."""
    FIGURES.write_text(json.dumps(_figures(results, command), indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(_page(results, command), encoding="utf-8")


def _figures(results: Results, command: str) -> dict[str, Any]:
    return {
        "command": command,
        "machine": _machine(),
        "note": results.note,
        "ratios": ratios(results),
        "rounds": {name: [vars(each) for each in rounds] for name, rounds in results.rounds.items()},
        "latencies": {name: vars(each) for name, each in results.latencies.items()},
        "figures": results.figures,
        "cluster": {name: [vars(each) for each in rounds] for name, rounds in results.cluster.items()},
        "growth": {
            what: {value: vars(seen) for value, seen in found.items()} for what, found in results.growth.items()
        },
        "interruptions": results.interruptions,
        "commits": {name: [vars(each) for each in costs] for name, costs in results.commits.items()},
        "sends": {name: [vars(each) for each in rounds] for name, rounds in results.sends.items()},
        "pending": {count: vars(each) for count, each in results.pending.items()},
    }


def _machine() -> str:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release().split('-')[0]}"


def _page(results: Results, command: str) -> str:
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools", "pydantic", "asyncpg")
    )
    lines = [
        "# Performance",
        "",
        "All candidates were measured side by side in one run on one machine; the run generates this page. Compare the",
        "ratios: the absolute numbers depend on this machine, where the load generator uses one of the two cores.",
        "",
        f"* machine: {_machine()}, local disk",
        f"* software: Python {platform.python_version()}, {packages}, {results.postgres}",
        f"* command: `{command}`",
        *([f"* note: {results.note}"] if results.note else []),
        "* load: wrk, one thread, 64 connections, 1 000 objects; each server is one process with default settings;",
        "  each round measures all candidates in turn, and the table shows medians over the rounds",
        "",
        "## Throughput on one machine",
        "",
        *THROUGHPUT_HEAD,
    ]
    lines += throughput_rows(results.rounds)
    lines += cluster_sections(results)
    lines += sends_section(results)
    lines += ["", "## Targets", "", "| target | reached | wanted | |", "| --- | ---: | ---: | --- |"]
    for what, found, wanted, reached in verdicts(results):
        lines.append(f"| {what} | {found:.2f} | {wanted:.2f} | {'PASS' if reached else 'FAIL'} |")
    lines += [
        "",
        "## Latency at a fixed rate",
        "",
        "| | rate | p50 | p99 | worst |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, seen in results.latencies.items():
        lines.append(
            f"| {name} | {seen.rate_per_s}/s | {seen.p50_ms:.2f} ms | {seen.p99_ms:.2f} ms | {seen.worst_ms:.1f} ms |"
        )
    lines += [
        "",
        "Latency is counted from the time at which a call was due, so a stall counts for every call that it delays.",
        "",
    ]
    lines += ["## Footprint", "", "| | |", "| --- | ---: |"]
    lines += [f"| {name} | {value:,.2f} |" for name, value in results.figures.items()]
    return "\n".join([*lines, "", LIMITS.read_text(encoding="utf-8").strip(), ""])
