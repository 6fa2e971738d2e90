"""The figures that the repository publishes keep what was promised of them.

They are those of the last `make bench`, so this holds for the machine that they were taken on. A target that they
miss is an entry here; an entry that they no longer miss has to go.
"""

import json
from typing import Any

import pytest

from benchmarks import report
from benchmarks.load import Throughput
from benchmarks.measurements import Results

KNOWN_MISSES: set[str] = set()

# Milliseconds at the median and at the 99th percentile.
LATENCY_BOUNDS_MS = {"read": (1.0, 10.0), "write": (2.0, 15.0)}


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    published: dict[str, Any] = json.loads(report.FIGURES.read_text(encoding="utf-8"))
    return published


def _missed_ratios(figures: dict[str, Any]) -> set[str]:
    rounds = {name: [Throughput(**each) for each in seen] for name, seen in figures["rounds"].items()}
    return {what for what, _, _, reached in report.verdicts(Results(rounds)) if not reached}


def _missed_latencies(figures: dict[str, Any]) -> set[str]:
    return {
        f"{name} {percentile}"
        for name, bounds in LATENCY_BOUNDS_MS.items()
        for percentile, bound in zip(("p50", "p99"), bounds, strict=True)
        if figures["latencies"][name][f"{percentile}_ms"] >= bound
    }


@pytest.mark.requirement("QUA-3", "QUA-5")
def test_what_is_missed_is_known(figures: dict[str, Any]) -> None:
    assert _missed_ratios(figures) | _missed_latencies(figures) == KNOWN_MISSES


@pytest.mark.requirement("QUA-3")
def test_the_page_shows_the_recorded_run(figures: dict[str, Any]) -> None:
    page = report.PAGE.read_text(encoding="utf-8")

    assert f"* machine: {figures['machine']}" in page
    assert f"* command: `{figures['command']}`" in page
    for name, measured in figures["latencies"].items():
        shown = f"| {name} | {measured['rate_per_s']}/s | {measured['p50_ms']:.2f} ms | {measured['p99_ms']:.2f} ms |"
        assert shown in page
