"""Statistics of the embedded store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class WalStats:
    """Counters since the store was opened, and current sizes.

    Attributes:
        commits, records, bytes_written: batches, records and bytes that became durable.
        sync_seconds: time spent in durable writes.
        conflicts: records refused with ``Conflict``.
        full_disk: batches refused because the disk was full.
        segments, snapshots: the number of files in the manifest.
        log_bytes: the size of the log after the newest snapshot.
        kept_replies, kept_bytes: the number of kept replies, and an estimate of the memory that they take.
        snapshots_made, snapshots_failed: snapshots that were completed, and that failed.
        recovery_seconds, recovered_records: duration of the last recovery, and the records that it read.
    """

    commits: int = 0
    records: int = 0
    bytes_written: int = 0
    sync_seconds: float = 0.0
    conflicts: int = 0
    full_disk: int = 0
    segments: int = 0
    snapshots: int = 0
    log_bytes: int = 0
    kept_replies: int = 0
    kept_bytes: int = 0
    snapshots_made: int = 0
    snapshots_failed: int = 0
    recovery_seconds: float = 0.0
    recovered_records: int = 0


@dataclass(slots=True, frozen=True)
class BatchWritten:
    """A batch that became durable: its records, its size in bytes, and the duration of the durable write."""

    records: int
    size: int
    seconds: float
