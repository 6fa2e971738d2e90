"""Prometheus metrics built from plain numbers when they are scraped, so calls pay nothing for them.

Label values come from the code (operations, reasons, types), never from ids, shards or clients. Their number is fixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.samples import Exemplar

Bucket = tuple[str, float] | tuple[str, float, Exemplar]
"""The upper bound of a bucket, the number of observations up to it, and the exemplar of one of them if there is one."""


def gauge(name: str, help_text: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return GaugeMetricFamily(f"goverse_{name}", help_text, value=value)


def counter(name: str, help_text: str, value: float) -> Metric:
    """Return a counter without labels."""
    return CounterMetricFamily(f"goverse_{name}", help_text, value=value)


def gauges(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a gauge with one label."""
    made = GaugeMetricFamily(f"goverse_{name}", help_text, labels=[label])
    for value, number in values.items():
        made.add_metric([value], number)
    return made


def counters(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a counter with one label."""
    made = CounterMetricFamily(f"goverse_{name}", help_text, labels=[label])
    for value, number in values.items():
        made.add_metric([value], number)
    return made


def size_histogram(name: str, help_text: str, label: str, sizes: Mapping[str, tuple[Sequence[int], float]]) -> Metric:
    """Return a histogram of sizes that were counted by powers of two: for each label value the counts, and the sum.

    The count at index n is for sizes with n + 1 binary digits; the last count includes all larger sizes.
    """
    made = HistogramMetricFamily(f"goverse_{name}", help_text, labels=[label])
    for value, (counts, total) in sizes.items():
        bounds = [str(float(2 ** (power + 1) - 1)) for power in range(len(counts) - 1)]
        made.add_metric([value], cumulated(bounds, counts), total)
    return made


def cumulated(
    bounds: Iterable[str], counts: Sequence[int], exemplars: Mapping[int, Exemplar] | None = None
) -> list[Bucket]:
    """Return Prometheus buckets, each including all smaller ones; ``counts`` has one more entry than ``bounds``.

    ``exemplars`` has the exemplars of buckets, by index.
    """
    total, buckets, chosen = 0, list[Bucket](), exemplars or {}
    for index, (bound, count) in enumerate(zip((*bounds, "+Inf"), counts, strict=True)):
        total += count
        buckets.append((bound, total, chosen[index]) if index in chosen else (bound, total))
    return buckets
