"""Prometheus metrics of the embedded store: objects, log, snapshots."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from goverse.telemetry.series import counter, gauge
from goverse_node.stores.object_counts import objects_gauge
from goverse_node.stores.wal.store import WalStore


class WalMetrics(Collector):
    """Exports the statistics of a :class:`WalStore`."""

    def __init__(self, store: WalStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        stats = self._store.stats()
        yield objects_gauge(self._store.counted)
        yield counter("wal_written_bytes", "Bytes that became durable.", stats.bytes_written)
        yield counter("wal_records", "Records that became durable.", stats.records)
        yield counter("wal_syncs", "Durable writes.", stats.commits)
        yield counter("wal_sync_seconds", "Time spent in durable writes.", stats.sync_seconds)
        yield counter("wal_conflicts", "Records refused with a conflict.", stats.conflicts)
        yield counter("wal_full_disk", "Batches refused because the disk was full.", stats.full_disk)
        yield gauge("wal_segments", "Log segments on disk.", stats.segments)
        yield gauge("wal_log_bytes", "Bytes of log after the newest snapshot.", stats.log_bytes)
        yield gauge("kept_replies", "Replies kept under idempotency keys.", stats.kept_replies)
        yield gauge("kept_replies_bytes", "Memory of the replies kept under idempotency keys.", stats.kept_bytes)
        yield gauge("snapshots", "Snapshots on disk.", stats.snapshots)
        yield counter("snapshots_made", "Snapshots that were completed.", stats.snapshots_made)
        yield counter("snapshots_failed", "Snapshots that failed.", stats.snapshots_failed)
        yield gauge("recovery_seconds", "Duration of the last recovery, in seconds.", stats.recovery_seconds)
