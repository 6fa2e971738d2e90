"""Rows of PostgreSQL as values of the ports."""

from __future__ import annotations

from typing import Any

from goverse.model.cause import decode_cause
from goverse.model.keys import ObjectKey
from goverse.model.records import Change, CommitRecord, StoredObject, StoredReply
from goverse.ports.store import Conflict


def object_of(row: Any) -> StoredObject | None:
    """Return the object of a row, None without one."""
    if row is None:
        return None
    return StoredObject(
        row["version"], row["state"], row["state_version"], row["commit_seq"], row["modified_ms"], row["creation"]
    )


def reply_of(row: Any, now_ms: int) -> StoredReply:
    """Return the kept reply of a row. ``now_ms`` is the time of this process."""
    return StoredReply(row["fingerprint"], row["reply"], now_ms + row["left_ms"], row["commit_seq"])


def change_of(row: Any, key: ObjectKey) -> Change:
    """Return the change of a row."""
    cause = row["cause"]
    return Change(
        row["commit_seq"],
        key,
        row["version"],
        row["state"],
        row["at_ms"],
        row["state_version"],
        row["generation"],
        row["previous_seq"],
        row["anchor_seq"],
        decode_cause(cause) if cause is not None else None,
    )


def conflict_of(record: CommitRecord, why: str, present: int) -> Conflict:
    """Return why a record was refused."""
    if why == "fenced":
        return Conflict(
            f"epoch {record.epoch} of shard {record.shard} is outdated; the newest is {present}", fenced=True
        )
    if why == "receipt":
        return Conflict(f"the call is not the next one of its sender that {record.key} can settle")
    if why == "key":
        return Conflict(f"{record.key} already has a reply under this idempotency key")
    return Conflict(f"{record.key} is at version {present}, not {record.expected}")


def behind(prefix: bytes) -> bytes | None:
    """Return the smallest bytes that are greater than all bytes with ``prefix``, or None if there are none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None
