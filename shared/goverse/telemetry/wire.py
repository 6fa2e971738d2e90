"""Metrics of a process's streams: those that it opened (``out``) and those that peers opened (``in``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from goverse.telemetry.series import size_histogram
from goverse.wire.stats import WireStats

_COUNTERS: Sequence[tuple[str, str, Callable[[WireStats], int]]] = (
    ("connections_opened", "Streams established, including reconnections.", lambda one: one.opened),
    ("connections_failed", "Failed attempts to open a stream.", lambda one: one.failed),
    ("connections_cut", "Streams that ended unexpectedly.", lambda one: one.cut),
    ("requests", "Requests sent over the streams.", lambda one: one.requests),
    ("replies", "Replies sent over the streams.", lambda one: one.replies),
    ("read_bytes", "Bytes of messages read.", lambda one: one.message_bytes_in),
    ("written_bytes", "Bytes of messages written.", lambda one: one.message_bytes_out),
)
_GAUGES: Sequence[tuple[str, str, Callable[[WireStats], int]]] = (
    ("connections", "Open streams.", lambda one: one.connections),
    ("inflight_requests", "Unanswered requests on the streams.", lambda one: one.inflight),
)


class WireMetrics(Collector):
    """``goverse_wire_…{direction}``."""

    def __init__(self, **directions: WireStats) -> None:
        self._directions = directions

    def collect(self) -> Iterator[Metric]:
        for name, help_text, of in _COUNTERS:
            made = CounterMetricFamily(f"goverse_wire_{name}", help_text, labels=["direction"])
            for direction, stats in self._directions.items():
                made.add_metric([direction], of(stats))
            yield made
        for name, help_text, of in _GAUGES:
            gauge = GaugeMetricFamily(f"goverse_wire_{name}", help_text, labels=["direction"])
            for direction, stats in self._directions.items():
                gauge.add_metric([direction], of(stats))
            yield gauge
        yield size_histogram(
            "wire_requests_batch",
            "Number of requests in one message.",
            "direction",
            {name: (stats.requests_batches, stats.requests) for name, stats in self._directions.items()},
        )
        yield size_histogram(
            "wire_replies_batch",
            "Number of replies in one message.",
            "direction",
            {name: (stats.replies_batches, stats.replies) for name, stats in self._directions.items()},
        )
