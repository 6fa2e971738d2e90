"""Encode the effects of a batch as the array arguments of SQL functions (``migrations/0002_calls.sql``).

A batch in which nothing conflicts is committed by ``goverse.commit_batch``, as one without effects, and functions that
add the effects are chained behind it in the same statement. The settlements of a pair of objects are folded into one:
the first one must be next after the receipt in the database, and this module checks that the others follow.

If a batch cannot be folded or conflicts, ``goverse.commit_each_with_effects`` commits it record by record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from goverse.model.effects import ANY_VERSION, encode_call
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Receipt, Verdict, place_of
from goverse.model.records import CommitRecord
from goverse_node.stores.hashes import hash_column
from goverse_node.stores.postgres import batches
from goverse_node.stores.postgres.kinds import kind_of

NUMERIC: Final = "numeric[]"
"""Columns of the numbers of calls, which have more than 64 bits. They are sent as text."""

_KEY: Final = ("bigint[]", "bytea[]")
_CALL: Final = ("integer[]", "integer[]", "bigint[]", "integer[]", *_KEY)
"""Types of: ordinal, shard, position and part of a pending call, and its sender."""

FOLDED_TYPES: Final = (*_KEY, *_KEY, "bigint[]", *(NUMERIC,) * 4, "integer[]", "integer[]", NUMERIC, "bytea[]")
"""The settlements of a batch, one row per pair, then their outcomes."""
EACH_TYPES: Final = ("integer[]", *_KEY, *_KEY, "bigint[]", *(NUMERIC,) * 3, "bytea[]")
"""The settlements of a batch, one row per record."""
SENT_TYPES: Final = (
    *("integer[]", "integer[]", "integer[]", "bigint[]", *_KEY, *_KEY),
    *("bigint[]", "bigint[]", "bytea[]"),
)
MARKED_TYPES: Final = (*_CALL, "integer[]", "text[]")
REMOVED_TYPES: Final = _CALL
FINISHED_TYPES: Final = (
    *("integer[]", *_KEY, *_KEY, "bytea[]", "text[]"),
    *("integer[]", "bigint[]", "bigint[]", "bytea[]", "bytea[]"),
)
_OTHER_TYPES: Final = (*SENT_TYPES, *MARKED_TYPES, *REMOVED_TYPES, *FINISHED_TYPES)

_NO_KEY: Final = (0, b"", 0, 0)
"""Kind, id, expected and written version of a record that fits every version: no object is of kind 0."""


class _Pair:
    """The settlements of one pair in a batch."""

    def __init__(self, first: int, prev: int) -> None:
        self.first = first
        self.prev = prev
        self.head = 0
        self.receipt = Receipt(prev)


def kinds_of(records: Iterable[CommitRecord]) -> Iterator[tuple[str, str]]:
    """Yield the kinds of all objects that the effects of records name."""
    for record in records:
        effects = record.effects
        if effects is None:
            continue
        yield from (call.receiver[:2] for call in effects.sends)
        if effects.settles is not None:
            yield effects.settles.delivery.sender[:2]
        for end in effects.finished:
            yield end.sender[:2]
            yield end.call.receiver[:2]


def folded(batch: Sequence[CommitRecord], base: int) -> list[Any] | None:
    """Return the arguments of ``COMMIT_BATCH`` behind the head, or None if the batch cannot be folded."""
    records = batches.folded(batch, base)
    pairs = _pairs(batch)
    if records is None or pairs is None:
        return None
    return [*records, *_settled(pairs, base), *_other(batch, base)]


def _pairs(batch: Sequence[CommitRecord]) -> dict[tuple[ObjectKey, ObjectKey], _Pair] | None:
    """Return the settlements of a batch by receiver and sender, or None if one does not follow the one before it."""
    pairs: dict[tuple[ObjectKey, ObjectKey], _Pair] = {}
    for record in batch:
        if record.effects is None or record.effects.settles is None:
            continue
        settles = record.effects.settles
        delivery, name = settles.delivery, (record.key, settles.delivery.sender)
        pair = pairs.get(name)
        if pair is None:
            pair = pairs[name] = _Pair(delivery.number, delivery.prev)
        if pair.receipt.judge(delivery) is not Verdict.NEXT:
            return None
        pair.receipt = pair.receipt.settled(settles)
        pair.head = max(pair.head, delivery.head)
    return pairs


def _settled(pairs: dict[tuple[ObjectKey, ObjectKey], _Pair], base: int) -> list[Any]:
    rows: list[tuple[Any, ...]] = []
    numbers: list[int] = []
    outcomes: list[bytes] = []
    for (receiver, sender), pair in pairs.items():
        begin, kept = len(numbers) + 1, pair.receipt.outcomes
        numbers += kept
        outcomes += kept.values()
        place = (pair.first, pair.prev, pair.receipt.last, pair.head, begin, len(numbers))
        rows.append((*_name(receiver), *_name(sender), hash_column(sender, base), *place))
    columns = batches.columns_of(rows, len(FOLDED_TYPES) - 2)
    return _as_text([*columns, numbers, outcomes], FOLDED_TYPES)


def each(batch: Sequence[CommitRecord], base: int) -> list[Any]:
    """Return the arguments of ``COMMIT_EACH`` behind the head."""
    records: list[tuple[Any, ...]] = []
    settled: list[tuple[Any, ...]] = []
    for ordinal, record in enumerate(batch):
        row = batches.row_of(record, base)
        if record.effects is not None:
            row = _with_effects(record, row)
            if record.effects.settles is not None:
                delivery = record.effects.settles.delivery
                numbers = (delivery.number, delivery.prev, delivery.head)
                name = (*_name(record.key), *_name(delivery.sender), hash_column(delivery.sender, base))
                settled.append((ordinal, *name, *numbers, record.effects.settles.outcome))
        records.append(row)
    return [
        *batches.as_text(batches.columns_of(records, len(batches.EACH_TYPES)), batches.EACH_TYPES),
        *_as_text(batches.columns_of(settled, len(EACH_TYPES)), EACH_TYPES),
        *_other(batch, base),
    ]


def _with_effects(record: CommitRecord, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the row of a record with effects.

    Without a reply it would count as a check of its epoch, so it gets an empty one, which is not kept without a key.
    """
    if record.expected == record.version == ANY_VERSION:
        row = (*_NO_KEY, *row[len(_NO_KEY) :])
    if row[batches.REPLY] is None:
        row = (*row[: batches.REPLY], b"", *row[batches.REPLY + 1 :])
    return row


def _other(batch: Sequence[CommitRecord], base: int) -> list[Any]:
    sent: list[tuple[Any, ...]] = []
    marked: list[tuple[Any, ...]] = []
    removed: list[tuple[Any, ...]] = []
    finished: list[tuple[Any, ...]] = []
    for ordinal, record in enumerate(batch):
        effects = record.effects
        if effects is None:
            continue
        sender, shard = _name(record.key), record.shard
        if effects.sends:
            hashed = hash_column(record.key, base)
            for part, call in enumerate(effects.sends):
                times = (call.due_ms, call.expires_ms)
                name = (ordinal, part, shard, hashed, *sender, *_name(call.receiver))
                sent.append((*name, *times, encode_call(call)))
        for mark in effects.marks:
            marked.append((ordinal, shard, *place_of(mark.number), *sender, mark.attempts, mark.void))
        for number in effects.removes:
            removed.append((ordinal, shard, *place_of(number), *sender))
        for end in effects.finished:
            names = (*_name(end.sender), *_name(end.call.receiver), end.call.id.encode(), end.state)
            rest = (end.attempts, end.finished_ms, end.expires_ms, encode_call(end.call), end.outcome)
            finished.append((ordinal, *names, *rest))
    columns = [
        *batches.columns_of(sent, len(SENT_TYPES)),
        *batches.columns_of(marked, len(MARKED_TYPES)),
        *batches.columns_of(removed, len(REMOVED_TYPES)),
        *batches.columns_of(finished, len(FINISHED_TYPES)),
    ]
    return _as_text(columns, _OTHER_TYPES)


def _name(key: ObjectKey) -> tuple[int, bytes]:
    return kind_of(key[0], key[1]), key[2].encode()


def _as_text(columns: list[Any], types: Sequence[str]) -> list[Any]:
    return [
        f"{{{','.join(map(str, column))}}}" if sql_type == NUMERIC else column
        for column, sql_type in zip(batches.as_text(columns, types), types, strict=True)
    ]


class _Placeholders:
    """Numbers the parameters of a statement. Columns of numbers are passed as text."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, types: Sequence[str]) -> str:
        given: list[str] = []
        for sql_type in types:
            self._count += 1
            as_text = sql_type in batches.NUMBERS or sql_type == NUMERIC
            given.append(f"${self._count}::text::{sql_type}" if as_text else f"${self._count}")
        return ", ".join(given)


def _folded_statement(head: Sequence[str]) -> str:
    """Return the statement that commits a batch and adds its effects; ``head`` has the types before the batch.

    Arguments are evaluated before the function that gets them, so the innermost function comes first: a batch with an
    outdated epoch fails before a receipt is read.
    """
    given = _Placeholders()
    inner = f"goverse.commit_batch({given((*head, *batches.BATCH_TYPES))})"
    inner = f"goverse.settle_calls({inner}, {given(FOLDED_TYPES)})"
    for name, types in (
        ("send_calls", SENT_TYPES),
        ("mark_calls", MARKED_TYPES),
        ("remove_calls", REMOVED_TYPES),
        ("keep_finished_calls", FINISHED_TYPES),
    ):
        inner = f"goverse.{name}({inner}, '{{}}', {given(types)})"
    return f"SELECT {inner}"


def _each_statement(head: Sequence[str]) -> str:
    types = (*head, *batches.EACH_TYPES, *EACH_TYPES, *_OTHER_TYPES)
    return f"SELECT goverse.commit_each_with_effects({_Placeholders()(types)})"


COMMIT_BATCH: Final = _folded_statement(batches.HEAD)
COMMIT_EACH: Final = _each_statement(batches.HEAD)
