"""Durations by operation and outcome, and counters of failures."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from goverse.errors import Unavailable
from goverse.telemetry.durations import Durations, Errors, Timeouts


def exported(*collectors: Durations | Errors | Timeouts) -> list[str]:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry).decode().splitlines()


def test_an_operation_is_counted_by_its_outcome() -> None:
    durations = Durations("test_request", "requests")
    with durations.measure("read"):
        pass
    with pytest.raises(Unavailable), durations.measure("read"):
        raise Unavailable
    with pytest.raises(KeyError), durations.measure("write"):
        raise KeyError

    lines = exported(durations, Errors("test", "Requests that failed.", durations))

    assert (durations.count("read"), durations.count("read", "unavailable"), durations.count("write", "error")) == (
        1,
        1,
        1,
    )
    assert 'goverse_test_request_duration_seconds_bucket{le="+Inf",operation="read",status="success"} 1.0' in lines
    assert 'goverse_test_errors_total{code="unavailable",operation="read"} 1.0' in lines
    assert 'goverse_test_errors_total{code="error",operation="write"} 1.0' in lines


def test_a_duration_counts_in_its_bucket_and_all_larger_ones() -> None:
    durations = Durations("test", "tests")
    durations.record("close", "forced", 0.3)

    lines = exported(durations)

    assert 'goverse_test_duration_seconds_bucket{le="0.25",operation="close",status="forced"} 0.0' in lines
    assert 'goverse_test_duration_seconds_bucket{le="0.5",operation="close",status="forced"} 1.0' in lines
    assert 'goverse_test_duration_seconds_sum{operation="close",status="forced"} 0.3' in lines


def test_timeouts_of_known_operations_start_at_zero() -> None:
    timeouts = Timeouts("drain", "shard_close")
    timeouts.count("drain", 2)

    lines = exported(timeouts)

    assert 'goverse_operation_timeouts_total{operation="drain"} 2.0' in lines
    assert 'goverse_operation_timeouts_total{operation="shard_close"} 0.0' in lines
