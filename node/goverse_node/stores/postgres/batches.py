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


def folded(batch: Sequence[CommitRecord]) -> list[Any] | None:
    """Return the arguments of ``commit_batch`` behind ``p_now_ms``; None where the batch is unfit for it."""
    objects: dict[ObjectKey, _Folded] = {}
    keys: set[tuple[ObjectKey, str]] = set()
    claims: dict[int, int] = {}
    changes: list[tuple[Any, ...]] = []
    replies: list[tuple[Any, ...]] = []
    for ordinal, record in enumerate(batch):
        if record.epoch and claims.setdefault(record.shard, record.epoch) != record.epoch:
            return None
        if is_check(record):
            continue
        entry = objects.get(record.key)
        if entry is None:
            entry = objects[record.key] = _Folded(record.expected)
        if entry.version != record.expected or record.version not in (record.expected, record.expected + 1):
            return None
        if record.changes_object:
            entry.version, entry.last, entry.ordinal = record.version, record, ordinal
            changes.append((*_name(record.key), record.version, record.state, record.at_ms, ordinal))
        if record.idempotency_key is not None and record.reply is not None:
            if (record.key, record.idempotency_key) in keys:
                return None
            keys.add((record.key, record.idempotency_key))
            kept = record.reply
            fresh = record.idempotency_key.startswith(ROUTER_KEY_PREFIX)
            replies.append(
                (
                    *_name(record.key),
                    record.idempotency_key,
                    kept.fingerprint,
                    kept.reply,
                    kept.expires_ms,
                    ordinal,
                    fresh,
                )
            )
    written = [
        (*_name(key), e.expected, e.version, e.last.state, e.last.state_version, e.last.at_ms, e.ordinal)
        for key, e in objects.items()
        if e.last is not None
    ]
    unwritten = [(*_name(key), e.expected) for key, e in objects.items() if e.last is None]
    return [
        list(claims),
        list(claims.values()),
        *_columns(written, 9),
        *_columns(unwritten, 4),
        *_columns(changes, 7),
        *_columns(replies, 9),
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
            record.idempotency_key if record.reply is not None else None,
            record.reply.fingerprint if record.reply is not None else None,
            record.reply.reply if record.reply is not None else None,
            record.reply.expires_ms if record.reply is not None else None,
        )
        for record in batch
    ]
    return _columns(rows, 14)


def _name(key: ObjectKey) -> tuple[str, str, bytes]:
    return key.namespace, key.type, key.id.encode()


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[Any]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
