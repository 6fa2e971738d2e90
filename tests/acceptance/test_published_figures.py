"""The figures that the repository publishes keep what was promised of them.

They are those of the last `make bench`, so this holds for the machine that they were taken on, and a page whose
figures miss a target cannot be published.
"""

import json
from typing import Any

import pytest

from benchmarks import report
from benchmarks.load import Throughput
from benchmarks.measurements import Results

# Milliseconds at the median and at the 99th percentile.
LATENCY_BOUNDS_MS = {"read": (1.0, 10.0), "write": (2.0, 15.0)}


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    published: dict[str, Any] = json.loads(report.FIGURES.read_text(encoding="utf-8"))
    return published


@pytest.mark.requirement("QUA-3")
def test_every_target_is_reached(figures: dict[str, Any]) -> None:
    rounds = {name: [Throughput(**one) for one in all_rounds] for name, all_rounds in figures["rounds"].items()}

    assert [what for what, _, _, reached in report.verdicts(Results(rounds)) if not reached] == []


@pytest.mark.requirement("QUA-5")
@pytest.mark.parametrize("name", LATENCY_BOUNDS_MS)
def test_latencies_at_the_stated_rate_are_within_their_bounds(figures: dict[str, Any], name: str) -> None:
    measured = figures["latencies"][name]
    p50_max, p99_max = LATENCY_BOUNDS_MS[name]

    assert measured["rate_per_s"] >= 100
    assert measured["p50_ms"] < p50_max
    assert measured["p99_ms"] < p99_max


@pytest.mark.requirement("QUA-3")
def test_the_page_shows_the_recorded_run(figures: dict[str, Any]) -> None:
    page = report.PAGE.read_text(encoding="utf-8")

    assert f"* machine: {figures['machine']}" in page
    assert f"* command: `{figures['command']}`" in page
    for name, measured in figures["latencies"].items():
        shown = f"| {name} | {measured['rate_per_s']}/s | {measured['p50_ms']:.2f} ms | {measured['p99_ms']:.2f} ms |"
        assert shown in page
