"""Metrics of the process: memory, processor time, files, garbage collection, and the GoVerse release."""

from __future__ import annotations

from platform import python_version

from prometheus_client import CollectorRegistry, Gauge, GCCollector, ProcessCollector


def register_process_metrics(registry: CollectorRegistry, *, version: str) -> None:
    """Add the metrics to ``registry``; call it once for each registry."""
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge(
        "goverse_build_info",
        "Always 1; the labels hold the running release.",
        ("version", "python"),
        registry=registry,
    )
    build.labels(version, python_version()).set(1)
