"""The benchmark of reliable calls counts completions, and compares within a round."""

from __future__ import annotations

import math

import pytest

from benchmarks import sends
from benchmarks.measurements import Results
from benchmarks.sends import PLAIN, RESTATE, SENDS, SENDS_CLUSTER, Rate
from benchmarks.sends_report import sends_section, verdicts


def test_a_window_counts_completions_and_their_cpu_time() -> None:
    completed, used = iter((100.0, 150.0)), iter((1.0, 1.01))
    rate = sends.window(lambda: next(completed), lambda: next(used), 0.01)
    assert rate.cpu_us == pytest.approx(200)
    assert 0 < rate.per_s <= 50 / 0.01


def test_a_window_without_completions_ends_the_measurement() -> None:
    with pytest.raises(SystemExit, match="nothing was completed"):
        sends.window(lambda: 7.0, lambda: 0.0, 0.01)


def test_completions_are_read_from_the_metrics_by_their_outcome() -> None:
    exposition = 'calls_total{outcome="success"} 12.0\ncalls_total{outcome="failed"} 3.0\n'
    assert sends.value_of(exposition, 'calls_total{outcome="success"}') == 12
    with pytest.raises(SystemExit, match="no series"):
        sends.value_of(exposition, 'calls_total{outcome="dead"}')


@pytest.mark.requirement("QUA-3")
def test_ratios_are_those_of_one_round_and_unmeasured_targets_have_none() -> None:
    results = Results()
    for noise in (1.0, 0.5, 1.0):  # a noisy minute hits both of a round alike
        results.sends.setdefault(PLAIN, []).append(Rate(1000 * noise, 50))
        results.sends.setdefault(SENDS, []).append(Rate(460 * noise, 110))
    results.sends[SENDS_CLUSTER] = [Rate(300, 300)]
    results.sends[RESTATE] = [Rate(100, math.nan)]
    results.pending = {"0": Rate(100, 100), "1,000,000": Rate(50, 200)}
    assert [(what, round(ratio, 2), reached) for what, ratio, _, reached in verdicts(results)] == [
        (f"{SENDS} / {PLAIN}", 0.46, True),
        (f"{SENDS_CLUSTER} / {RESTATE}", 3.0, False),
        ("CPU time of a send, none pending / 1,000,000 pending", 0.5, False),
    ]


def test_section_has_each_system_and_each_number_of_pending_calls() -> None:
    results = Results()
    assert sends_section(results) == []
    results.sends = {SENDS: [Rate(460, 110)], RESTATE: [Rate(100, math.nan)]}
    results.pending = {"1,000": Rate(450, 115)}
    lines = sends_section(results)
    assert f"| {SENDS} | 460 | 110 µs |" in lines
    assert f"| {RESTATE} | 100 |  |" in lines
    assert "| 1,000 | 450 | 115 µs |" in lines
