"""Metrics of nested calls, which objects of this node make to other objects.

The gate counts calls from outside (``goverse_method_calls_total``). Nested calls do not pass a gate, so the calling
node counts them, under names of their own; a process that is both gate and node counts no call twice. The duration is
measured by the caller, from sending the call to its reply, whichever node ran it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from time import time

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from goverse.model.frames import Problem, Request
from goverse.objects.registry import Registry
from goverse.telemetry.durations import BUCKETS_S, SUCCESS
from goverse.telemetry.exposition import exemplar, sampled_trace_id
from goverse.telemetry.series import cumulated

UNKNOWN = "unknown"


class NestedCalls(Collector):
    """Collector of ``goverse_nested_calls_total`` and ``goverse_nested_call_duration_seconds``.

    Labels are ``object_type``, ``method`` and, for the counter, ``status``: ``success`` or an error code of GoVerse.
    Business errors have the status ``business_error``, whatever their code.
    """

    def __init__(self, registry: Registry) -> None:
        """Count calls to the types of ``registry`` by name, and calls to other types together as ``unknown``."""
        self._registry = registry
        self._counts: dict[tuple[str, str, str], int] = {}
        self._times: dict[tuple[str, str], tuple[list[int], list[float], dict[int, Exemplar]]] = {}

    def record(self, request: Request, problem: Problem | None, seconds: float) -> None:
        """Count a call; ``problem`` is the error of its reply, or None."""
        type_name, method = labels = request.key.type, request.method
        if labels not in self._times and not self._is_known(type_name, method):
            labels = (UNKNOWN, UNKNOWN)
        status = SUCCESS if problem is None else problem.code if problem.status is None else "business_error"
        counted = (labels[0], labels[1], status)
        self._counts[counted] = self._counts.get(counted, 0) + 1
        buckets, total, exemplars = self._times.setdefault(labels, ([0] * (len(BUCKETS_S) + 1), [0.0], {}))
        index = bisect_left(BUCKETS_S, seconds)
        buckets[index] += 1
        total[0] += seconds
        if request.traceparent and (trace_id := sampled_trace_id(request.traceparent)) is not None:
            exemplars[index] = exemplar(trace_id, seconds, time())

    def _is_known(self, type_name: str, method: str) -> bool:
        spec = self._registry.types.get(type_name)
        return spec is not None and method in spec.methods

    def collect(self) -> Iterator[Metric]:
        """Return the current values."""
        labels = ("object_type", "method")
        counts = CounterMetricFamily(
            "goverse_nested_calls", "Calls from objects of this node to other objects.", labels=(*labels, "status")
        )
        for counted, count in sorted(self._counts.items()):
            counts.add_metric(counted, count)
        times = HistogramMetricFamily(
            "goverse_nested_call_duration_seconds",
            "Time from sending a nested call to its reply.",
            labels=labels,
        )
        for names, (buckets, total, exemplars) in sorted(self._times.items()):
            times.add_metric(names, cumulated(map(str, BUCKETS_S), buckets, exemplars), total[0])
        yield counts
        yield times
