"""The metric ``goverse_objects_total``: the number of objects that exist, by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from prometheus_client.core import GaugeMetricFamily


def objects_gauge(living: Mapping[tuple[str, str], int]) -> GaugeMetricFamily:
    """Return the metric. ``living`` has the numbers by namespace and type; those of one type are added up."""
    by_type: Counter[str] = Counter()
    for (_, type_name), count in living.items():
        by_type[type_name] += count
    gauge = GaugeMetricFamily("goverse_objects_total", "Objects that exist.", labels=["object_type"])
    for type_name, count in sorted(by_type.items()):
        gauge.add_metric([type_name], count)
    return gauge
