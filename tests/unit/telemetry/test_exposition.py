"""The formats of ``/metrics``: OpenMetrics with exemplars if the client accepts it, else the plain text format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from goverse.telemetry.exposition import expose, sampled_trace_id

pytestmark = pytest.mark.requirement("OBS-1")

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PARTS = ("application/openmetrics-text", ";", ",", "version=", "1.0.0", "0", "é", "q=")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("goverse_things", "Things.", registry=made).inc(exemplar={"trace_id": TRACE})
    return made


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/plain",
        "text/plain;version=0.0.4",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text; version=x",
        "application/openmetrics-text; version=1.0.0; q=0",
        "application/openmetrics-text; version=9.0.0",
        "application/openmetrics-text; version=1..0, text/plain; version=é",
    ],
)
def test_the_plain_text_format_is_the_default(accept: str) -> None:
    body, content_type = expose(registry(), accept)
    assert content_type == PLAIN
    assert b"goverse_things_total 1.0\n" in body
    assert TRACE.encode() not in body
    assert b"# EOF" not in body


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3, "application/openmetrics-text", "*/*, " + PROMETHEUS_2])
def test_open_metrics_has_exemplars(accept: str) -> None:
    body, content_type = expose(registry(), accept)
    assert content_type.partition("; escaping")[0] == OPEN_METRICS
    assert body.endswith(b"# EOF\n")
    assert f'goverse_things_total 1.0 # {{trace_id="{TRACE}"}} 1.0 ' in body.decode()


@given(
    st.text()
    | st.lists(st.sampled_from(["application/openmetrics-text", ";", ",", "version=", "1.0.0", "0", "é", "q="])).map(
        "".join
    )
)
def test_any_accept_header_gets_metrics(accept: str) -> None:
    body, content_type = expose(registry(), accept)
    assert b"goverse_things_total 1.0" in body
    assert content_type.isascii()


@pytest.mark.parametrize(
    ("traceparent", "found"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-03", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-0f", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-00", None),
        (f"00-{TRACE}-00f067aa0ba902b7-02", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        (f'00-{TRACE}-00f067aa0ba902b7-01"', None),
        ("", None),
    ],
)
def test_only_a_valid_and_sampled_trace_has_an_id(traceparent: str, found: str | None) -> None:
    assert sampled_trace_id(traceparent) == found
