"""Numbers that an operator wants from the embedded store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class WalStats:
    """Counters since the store was opened, and present sizes.

    Attributes:
        commits, records, bytes_written: batches, records and bytes that became durable.
        sync_seconds: time spent in durable writes.
        conflicts: records refused with ``Conflict``.
        full_disk: batches refused because the disk was full.
        segments, snapshots: files that the manifest names.
        log_bytes: log behind the newest snapshot.
        kept_replies, kept_bytes: replies kept under idempotency keys, and the memory that they take.
        snapshots_made, snapshots_failed, snapshot_seconds: what the compactor did.
        recovery_seconds, recovered_records: how the store was opened.
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
    snapshot_seconds: float = 0.0
    recovery_seconds: float = 0.0
    recovered_records: int = 0


@dataclass(slots=True, frozen=True)
class BatchWritten:
    """One batch became durable: how many records and bytes, and how long the durable write took."""

    records: int
    size: int
    seconds: float
