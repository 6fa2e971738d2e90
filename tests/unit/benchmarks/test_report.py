"""The measurements' report: ratios within a round, verdicts, and a regression that is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.load import Latency, Throughput
from benchmarks.measurements import (
    CANDIDATES,
    DURABLE,
    DURABLE_CLUSTER,
    ECHO,
    HANDWRITTEN,
    PEEK,
    RATE_PER_S,
    RAY,
    RESTATE,
    Results,
)
from benchmarks.postgres_commit import Cost


def _results(durable: float) -> Results:
    results = Results(postgres="PostgreSQL")
    rates = {ECHO: 1000.0, HANDWRITTEN: 100.0, **dict.fromkeys(CANDIDATES, 600.0), DURABLE: durable}
    for noise in (1.0, 0.5, 1.0):  # a noisy minute hits all candidates of a round alike
        for name, rate in rates.items():
            results.rounds.setdefault(name, []).append(Throughput(rate * noise, 1.0, 2.0, 0))
    for name, rate in {ECHO: 1000.0, HANDWRITTEN: 100.0, DURABLE_CLUSTER: 400.0, RESTATE: 50.0, RAY: 50.0}.items():
        results.cluster[name] = [Throughput(rate, 1.0, 2.0, 0)]
    results.growth["nodes"] = {"2": Throughput(durable, 1.5, 2.5, 0)}
    results.interruptions["a pause (ms)"] = 12.3
    results.commits["fenced"] = [Cost(16, 1000.0, 3.0, 4.0)]
    results.latencies["write"] = Latency(RATE_PER_S, 100, 1.0, 2.0, 3.0)
    return results


@pytest.mark.requirement("QUA-3")
def test_ratios_are_those_of_one_round_and_decide_the_verdicts() -> None:
    verdicts = {what: (ratio, reached) for what, ratio, _, reached in report.verdicts(_results(400.0))}
    assert verdicts[f"{DURABLE} / {ECHO}"] == (0.4, True)
    assert verdicts[f"{PEEK} / {ECHO}"] == (0.6, True)
    assert report.verdicts(_results(300.0))[0][3] is False
    assert verdicts[f"{DURABLE_CLUSTER} / {HANDWRITTEN}"] == (4.0, True)
    assert verdicts[f"{DURABLE_CLUSTER} / {RAY}"] == (8.0, False)


@pytest.mark.requirement("QUA-3")
def test_a_target_of_what_was_not_measured_has_no_verdict() -> None:
    results = _results(400.0)
    del results.cluster[RAY]
    assert not any(RAY in what for what, _, _, _ in report.verdicts(results))


@pytest.mark.requirement("QUA-3", "QUA-5")
def test_report_names_machine_command_rate_and_every_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(report, "FIGURES", tmp_path / "results.json")
    report.write(_results(400.0), "make bench")
    page = report.PAGE.read_text(encoding="utf-8")
    for named in (
        "`make bench`",
        f"{RATE_PER_S}/s",
        "PostgreSQL",
        ECHO,
        HANDWRITTEN,
        *CANDIDATES,
        RESTATE,
        "a pause (ms)",
    ):
        assert named in page
    assert json.loads(report.FIGURES.read_text(encoding="utf-8"))["ratios"][DURABLE] == 0.4


@pytest.mark.requirement("QUA-3")
def test_ratio_that_fell_by_more_than_a_fifth_is_a_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PAGE", tmp_path / "performance.md")
    monkeypatch.setattr(report, "FIGURES", tmp_path / "results.json")
    report.write(_results(400.0), "make bench")
    assert report.regressions(_results(330.0)) == []
    assert report.regressions(_results(300.0)) == [f"{DURABLE}: 0.30 of the echo, previously 0.40"]
