"""Metrics of the object API: plain numbers, updated on the event loop and converted to Prometheus metrics on scrape.

Labels come only from the catalog and from the table of problem codes, so clients cannot create new series. Other types
and methods are counted as ``unknown``, other outcomes as ``business_error``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from goverse.errors import AccessDenied
from goverse.model.catalog import Catalog
from goverse.model.frames import Problem
from goverse.telemetry.series import Bucket, cumulated
from goverse_gate.problems import STATUS

BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
UNKNOWN: Final = "unknown"
OPERATIONS: Final = ("call_cancel", "call_result", "call_status", "calls", "create", "delete", "list", "read", "submit")

_OUTCOMES: Final = frozenset({"success", "client_gone", *STATUS})


class Tally:
    """The count and the durations of requests with one outcome.

    Attributes:
        exemplars: the latest request with a sampled trace, by the index of its bucket; None if there was none.
    """

    __slots__ = ("buckets", "count", "exemplars", "sum_s")

    def __init__(self) -> None:
        """Start at zero."""
        self.count = 0
        self.sum_s = 0.0
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.exemplars: dict[int, Exemplar] | None = None


class Series:
    """The requests to one method, or to one other operation, by outcome."""

    __slots__ = ("_outcomes", "method", "object_type", "tallies")

    def __init__(self, object_type: str, method: str, outcomes: Iterable[str] = ()) -> None:
        """Start with no requests. ``outcomes`` are additional codes that may become labels."""
        self.object_type = object_type
        self.method = method
        self.tallies: dict[str, Tally] = {}
        self._outcomes = _OUTCOMES.union(outcomes)

    def record(self, outcome: str, duration_s: float) -> None:
        """Count one request."""
        tally = self.tallies.get(outcome)
        if tally is None:
            label = outcome if outcome in self._outcomes else "business_error"
            tally = self.tallies.setdefault(label, Tally())
        tally.count += 1
        tally.sum_s += duration_s
        tally.buckets[bisect_left(BUCKETS_S, duration_s)] += 1

    def exemplify(self, outcome: str, exemplar: Exemplar) -> None:
        """Keep the trace of a request that was recorded, as the exemplar of its bucket."""
        tally = self.tallies.get(outcome) or self.tallies["business_error"]
        if tally.exemplars is None:
            tally.exemplars = {}
        tally.exemplars[bisect_left(BUCKETS_S, exemplar.value)] = exemplar

    def count(self, outcome: str) -> int:
        """Return the number of requests with this outcome."""
        tally = self.tallies.get(outcome)
        return tally.count if tally else 0


def _histogram(tallies: Iterable[Tally]) -> tuple[list[Bucket], float]:
    """Return cumulative buckets, as Prometheus expects them, and the sum."""
    chosen = list(tallies)
    counts = [sum(column) for column in zip(*(tally.buckets for tally in chosen), strict=True)]
    latest: dict[int, Exemplar] = {}
    for index, found in (each for tally in chosen for each in (tally.exemplars or {}).items()):
        if index not in latest or _at_s(found) >= _at_s(latest[index]):
            latest[index] = found
    return cumulated(map(str, BUCKETS_S), counts, latest), sum(tally.sum_s for tally in chosen)


def _at_s(exemplar: Exemplar) -> float:
    return float(exemplar.timestamp or 0)


class GateMetrics(Collector):
    """All metrics of one gate, as a Prometheus collector."""

    def __init__(self, catalog: Catalog) -> None:
        """Create a series for each method of each type. A series is exported once it has counted a request."""
        self.methods: dict[tuple[str, str], Series] = {}
        self.add(catalog)
        self.operations: Mapping[str, Series] = {name: Series("", name) for name in OPERATIONS}
        self.unknown = Series(UNKNOWN, UNKNOWN)
        self.denied: dict[str, int] = {}
        self.replays = 0
        self.inflight: Callable[[], int] = lambda: 0

    def add(self, catalog: Catalog) -> None:
        """Create series for the methods in ``catalog`` that have none yet."""
        for name, type_ in catalog.items():
            for method, described in type_.methods.items():
                codes = (error.code for error in described.errors)
                self.methods.setdefault((name, method), Series(name, method, codes))
            self.methods.setdefault((name, UNKNOWN), Series(name, UNKNOWN))

    def deny(self, error: AccessDenied | Problem) -> None:
        """Count a denied request, by the setting or the rule in the error."""
        reason = str(error.extra.get("setting") or error.extra.get("rule", "rule"))
        self.denied[reason] = self.denied.get(reason, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Return all metrics; called by the registry."""
        called = [series for series in (*self.methods.values(), self.unknown) if series.tallies]
        calls = CounterMetricFamily(
            "goverse_method_calls",
            "HTTP calls to exported methods.",
            labels=("object_type", "method", "status"),
        )
        durations = HistogramMetricFamily(
            "goverse_method_call_duration_seconds",
            "Time from the arrival of a call at the gate to its response.",
            labels=("object_type", "method"),
        )
        for series in called:
            for outcome, tally in series.tallies.items():
                calls.add_metric((series.object_type, series.method, outcome), tally.count)
            buckets, total_s = _histogram(series.tallies.values())
            durations.add_metric((series.object_type, series.method), buckets, total_s)
        yield calls
        yield durations
        yield from self._collect_operations(called)
        denied = CounterMetricFamily(
            "goverse_access_denied",
            "Requests denied before any code ran, by the setting or the rule that denied them.",
            labels=("reason",),
        )
        for reason, count in self.denied.items():
            denied.add_metric((reason,), count)
        yield denied
        yield CounterMetricFamily(
            "goverse_idempotency_replays",
            "Responses replayed from the record of an earlier request with the same idempotency key.",
            value=self.replays,
        )
        yield GaugeMetricFamily(
            "goverse_gate_inflight_requests",
            "Requests to objects in progress in the gate.",
            value=self.inflight(),
        )

    def _collect_operations(self, called: Iterable[Series]) -> Iterator[Metric]:
        durations = HistogramMetricFamily(
            "goverse_operation_duration_seconds",
            "Duration of requests other than calls.",
            labels=("operation", "status"),
        )
        timeouts = CounterMetricFamily(
            "goverse_operation_timeouts", "Requests that reached their deadline.", labels=("operation",)
        )
        for name, series in self.operations.items():
            for outcome, tally in series.tallies.items():
                buckets, total_s = _histogram((tally,))
                durations.add_metric((name, outcome), buckets, total_s)
            timeouts.add_metric((name,), series.count("timeout"))
        timeouts.add_metric(("call",), sum(series.count("timeout") for series in called))
        yield durations
        yield timeouts
