"""A batch of commit records as the arrays of ``goverse.commit_batch`` and ``goverse.commit_each``.

For the first, records of one object are folded: what the first expects, what the last makes of it. Whatever is unusual
in the batch itself (a gap between the versions of one object, one key twice) makes it unfit, and every record is
committed for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from goverse.model.keys import ROUTER_KEY_PREFIX, ObjectKey
from goverse.model.records import CommitRecord
from goverse.ports.authority import is_check


class _Folded:
    """The records of one object."""

    __slots__ = ("expected", "last", "ordinal", "version")

    def __init__(self, expected: int) -> None:
        self.expected = self.version = expected
        self.last: CommitRecord | None = None
        self.ordinal = 0


class _Batch:
    """What a batch comes to, object by object."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, _Folded] = {}
        self.keys: set[tuple[ObjectKey, str]] = set()
        self.claims: dict[int, int] = {}
        self.changes: list[tuple[Any, ...]] = []
        self.replies: list[tuple[Any, ...]] = []

    def add(self, ordinal: int, record: CommitRecord) -> bool:
        """Take a record in; tell whether the batch is still fit."""
        if record.epoch and self.claims.setdefault(record.shard, record.epoch) != record.epoch:
            return False
        if is_check(record):
            return True
        entry = self.objects.get(record.key)
        if entry is None:
            entry = self.objects[record.key] = _Folded(record.expected)
        if entry.version != record.expected or record.version not in (record.expected, record.expected + 1):
            return False
        if record.changes_object:
            entry.version, entry.last, entry.ordinal = record.version, record, ordinal
            self.changes.append((*_name(record.key), record.version, record.state, record.at_ms, ordinal))
        if record.idempotency_key is None or record.reply is None:
            return True
        place, kept = (record.key, record.idempotency_key), record.reply
        if place in self.keys:
            return False
        self.keys.add(place)
        fresh = record.idempotency_key.startswith(ROUTER_KEY_PREFIX)
        self.replies.append(
            (*_name(place[0]), place[1].encode(), kept.fingerprint, kept.reply, kept.expires_ms, ordinal, fresh)
        )
        return True


def folded(batch: Sequence[CommitRecord]) -> list[Any] | None:
    """Return the arguments of ``commit_batch`` behind ``p_now_ms``; None where the batch is unfit for it."""
    found = _Batch()
    for ordinal, record in enumerate(batch):
        if not found.add(ordinal, record):
            return None
    written = [
        (*_name(key), e.expected, e.version, e.last.state, e.last.state_version, e.last.at_ms, e.ordinal)
        for key, e in found.objects.items()
        if e.last is not None
    ]
    unwritten = [(*_name(key), e.expected) for key, e in found.objects.items() if e.last is None]
    return [
        list(found.claims),
        list(found.claims.values()),
        *_columns(written, 9),
        *_columns(unwritten, 4),
        *_columns(found.changes, 7),
        *_columns(found.replies, 9),
    ]


def each(batch: Sequence[CommitRecord]) -> list[Any]:
    """Return the arguments of ``commit_each`` behind ``p_now_ms``."""
    rows = [
        (
            *_name(record.key),
            record.expected,
            record.version,
            record.state,
            record.state_version,
            record.at_ms,
            record.shard,
            record.epoch,
            _key(record),
            record.reply.fingerprint if record.reply is not None else None,
            record.reply.reply if record.reply is not None else None,
            record.reply.expires_ms if record.reply is not None else None,
        )
        for record in batch
    ]
    return _columns(rows, 14)


def _key(record: CommitRecord) -> bytes | None:
    kept = record.idempotency_key is not None and record.reply is not None
    return record.idempotency_key.encode() if kept and record.idempotency_key is not None else None


def _name(key: ObjectKey) -> tuple[str, str, bytes]:
    return key.namespace, key.type, key.id.encode()


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[Any]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
