"""The series of a process's streams: those that it opened (``out``) and those that others opened to it (``in``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from goverse.telemetry.series import size_histogram
from goverse.wire.stats import WireStats

_COUNTERS: Sequence[tuple[str, str, Callable[[WireStats], int]]] = (
    ("connections_opened", "Streams that came to stand, reconnections included.", lambda one: one.opened),
    ("connections_failed", "Attempts to open a stream that came to nothing.", lambda one: one.failed),
    ("connections_cut", "Streams that ended otherwise than in order.", lambda one: one.cut),
    ("requests", "Requests that went over the streams.", lambda one: one.requests),
    ("replies", "Replies that came back over the streams.", lambda one: one.replies),
    ("read_bytes", "Bytes of the messages that were read.", lambda one: one.message_bytes_in),
    ("written_bytes", "Bytes of the messages that were written.", lambda one: one.message_bytes_out),
)
_GAUGES: Sequence[tuple[str, str, Callable[[WireStats], int]]] = (
    ("connections", "Streams that stand.", lambda one: one.connections),
    ("inflight_requests", "Requests on the streams that are not answered yet.", lambda one: one.inflight),
)


class WireMetrics(Collector):
    """``goverse_wire_…{direction}``."""

    def __init__(self, **directions: WireStats) -> None:
        """Describe the stats of each direction."""
        self._directions = directions

    def collect(self) -> Iterator[Metric]:
        """Give the series of this moment."""
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
            "Requests that went in one message.",
            "direction",
            {name: (stats.requests_batches, stats.requests) for name, stats in self._directions.items()},
        )
        yield size_histogram(
            "wire_replies_batch",
            "Replies that went in one message.",
            "direction",
            {name: (stats.replies_batches, stats.replies) for name, stats in self._directions.items()},
        )
