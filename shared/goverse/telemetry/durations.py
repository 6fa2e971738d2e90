"""``Durations``: durations and outcomes of operations that are not on the path of a call."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from goverse.errors import GoverseError
from goverse.telemetry.series import cumulated

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SUCCESS: Final = "success"


@dataclass(slots=True)
class _Tally:
    sum_s: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))


class Durations(Collector):
    """Operations of one kind, as ``goverse_{name}_duration_seconds{operation,status}``.

    A status is ``success``, a code of ``goverse.errors``, or a word chosen by the caller of ``record``.

    Attributes:
        failures: number of failed operations, by operation and status.
    """

    def __init__(self, name: str, what: str) -> None:
        """Name the metric; ``what`` describes the operations in its help text."""
        self._name = name
        self._what = what
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self.failures: dict[tuple[str, str], int] = {}

    def record(self, operation: str, status: str, seconds: float) -> None:
        """Record one operation."""
        tally = self._tallies.setdefault((operation, status), _Tally())
        tally.sum_s += seconds
        tally.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        if status != SUCCESS:
            self.failures[operation, status] = self.failures.get((operation, status), 0) + 1

    @contextmanager
    def measure(self, operation: str) -> Generator[None]:
        """Record the duration and outcome of the enclosed code; its exceptions are raised unchanged."""
        began, status = perf_counter(), "cancelled"
        try:
            yield
            status = SUCCESS
        except GoverseError as error:
            status = error.code
            raise
        except Exception:
            status = "error"
            raise
        finally:
            self.record(operation, status, perf_counter() - began)

    def count(self, operation: str, status: str = SUCCESS) -> int:
        """Return the number of operations with this status."""
        tally = self._tallies.get((operation, status))
        return sum(tally.buckets) if tally is not None else 0

    def collect(self) -> Iterator[Metric]:
        made = HistogramMetricFamily(
            f"goverse_{self._name}_duration_seconds", f"How long {self._what} took.", labels=("operation", "status")
        )
        for (operation, status), tally in sorted(self._tallies.items()):
            made.add_metric((operation, status), cumulated(map(str, BUCKETS_S), tally.buckets), tally.sum_s)
        yield made


class Timeouts(Collector):
    """Timed-out operations, as ``goverse_operation_timeouts_total{operation}``."""

    def __init__(self, *operations: str) -> None:
        """Start ``operations`` at zero; others appear once they are counted."""
        self.counts: dict[str, int] = dict.fromkeys(operations, 0)

    def count(self, operation: str, times: int = 1) -> None:
        self.counts[operation] = self.counts.get(operation, 0) + times

    def collect(self) -> Iterator[Metric]:
        made = CounterMetricFamily("goverse_operation_timeouts", "Operations that timed out.", labels=["operation"])
        for operation, count in self.counts.items():
            made.add_metric([operation], count)
        yield made


class Errors(Collector):
    """Failures recorded by a ``Durations``, as ``goverse_{name}_errors_total{operation,code}``."""

    def __init__(self, name: str, what: str, durations: Durations) -> None:
        """Name the metric; ``what`` is its help text."""
        self._name = name
        self._what = what
        self._durations = durations

    def collect(self) -> Iterator[Metric]:
        made = CounterMetricFamily(f"goverse_{self._name}_errors", self._what, labels=("operation", "code"))
        for (operation, status), count in sorted(self._durations.failures.items()):
            made.add_metric((operation, status), count)
        yield made
