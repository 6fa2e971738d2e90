"""Metrics of the object API: outcomes are counted, and clients cannot create new series."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from goverse.objects.describe import describe
from goverse.telemetry.exposition import exemplar, expose
from goverse_gate.metrics import GateMetrics
from tests.gate.serving import new_link

EXEMPLAR = re.compile(
    r'_bucket\{(?:(?=.*method="(\w+)")|(?=.*operation="(\w+)")).*le="([^"]+)".*\}'
    r' .* # \{trace_id="([^"]+)"\} (\S+) (\S+)$'
)


@pytest.fixture
def metrics() -> GateMetrics:
    return GateMetrics(describe(new_link().registry))


def exported(metrics: GateMetrics) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(metrics)
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


@pytest.mark.requirement("OBS-1")
def test_calls_are_counted_by_outcome_and_timed(metrics: GateMetrics) -> None:
    series = metrics.methods["Counter", "increment"]
    series.record("success", 0.003)
    series.record("success", 0.2)
    series.record("timeout", 31.0)
    found = exported(metrics)
    labels = 'method="increment",object_type="Counter"'
    assert found[f'goverse_method_calls_total{{{labels},status="success"}}'] == 2
    assert found[f'goverse_method_calls_total{{{labels},status="timeout"}}'] == 1
    assert found[f'goverse_method_call_duration_seconds_bucket{{le="0.005",{labels}}}'] == 1
    assert found[f'goverse_method_call_duration_seconds_bucket{{le="30.0",{labels}}}'] == 2
    assert found[f'goverse_method_call_duration_seconds_bucket{{le="+Inf",{labels}}}'] == 3
    assert found[f"goverse_method_call_duration_seconds_count{{{labels}}}"] == 3
    assert found[f"goverse_method_call_duration_seconds_sum{{{labels}}}"] == pytest.approx(31.203)
    assert found['goverse_operation_timeouts_total{operation="call"}'] == 1


def test_only_documented_outcomes_become_labels(metrics: GateMetrics) -> None:
    series = metrics.methods["Counter", "withdraw"]
    for code in ("insufficient_funds", "made_up_1", "made_up_2"):
        series.record(code, 0.001)
    assert {code: tally.count for code, tally in series.tallies.items()} == {
        "insufficient_funds": 1,
        "business_error": 2,
    }


def test_other_operations_are_timed_by_outcome(metrics: GateMetrics) -> None:
    metrics.operations["read"].record("object_not_found", 0.001)
    metrics.operations["read"].record("timeout", 0.001)
    found = exported(metrics)
    assert found['goverse_operation_duration_seconds_count{operation="read",status="object_not_found"}'] == 1
    assert found['goverse_operation_timeouts_total{operation="read"}'] == 1


def test_a_method_without_calls_has_no_series(metrics: GateMetrics) -> None:
    assert not any("method_calls_total" in line for line in exported(metrics))


@pytest.mark.requirement("OBS-1")
def test_each_bucket_keeps_the_latest_sampled_trace_as_its_exemplar(metrics: GateMetrics) -> None:
    series = metrics.methods["Counter", "increment"]
    for number, (outcome, duration_s) in enumerate(
        (("success", 0.003), ("timeout", 0.004), ("success", 0.2), ("x", 31.0))
    ):
        series.record(outcome, duration_s)
        series.exemplify(outcome, exemplar(f"trace-{number}", duration_s, 100.0 + number))
    metrics.operations["read"].record("success", 0.003)
    metrics.operations["read"].exemplify("success", exemplar("trace-4", 0.003, 104.0))
    registry = CollectorRegistry()
    registry.register(metrics)

    text = expose(registry, "application/openmetrics-text").body.decode()
    found = {
        (match[1] or match[2], match[3]): (match[4], float(match[5]), float(match[6]))
        for line in text.splitlines()
        if (match := EXEMPLAR.search(line))
    }
    assert found == {
        ("increment", "0.005"): ("trace-1", 0.004, 101.0),
        ("increment", "0.25"): ("trace-2", 0.2, 102.0),
        ("increment", "+Inf"): ("trace-3", 31.0, 103.0),
        ("read", "0.005"): ("trace-4", 0.003, 104.0),
    }
    assert b"trace-" not in generate_latest(registry)
