"""Metrics of certificates: expiry, and reloads of changed files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from goverse.telemetry.series import gauges
from goverse.tls.rotation import Rotating


class TlsMetrics(Collector):
    """Metrics of the certificates of a process's links."""

    def __init__(self, links: Iterable[Rotating[Any]]) -> None:
        self._links = tuple(links)

    def collect(self) -> Iterator[Metric]:
        if not self._links:
            return
        yield gauges(
            "tls_certificate_expiry_timestamp_seconds",
            "Expiry of our certificate in use; without one, of the authority.",
            "link",
            {link.files.link: link.material.expires for link in self._links},
        )
        reloads = CounterMetricFamily(
            "goverse_tls_reloads", "Changed certificate files that were taken or refused.", labels=["link", "outcome"]
        )
        for link in self._links:
            for outcome, count in link.reloads.items():
                reloads.add_metric([link.files.link, outcome], count)
        yield reloads
