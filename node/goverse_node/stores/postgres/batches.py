"""Encode a batch of commit records as the array arguments of two SQL functions.

``goverse.commit_batch`` commits a batch without conflicts. Several records of one object are folded into one change,
from the version that the first record expects to the state that the last one writes. For example, the changes 4 to 5,
5 to 6 and 6 to 7 of one object become one change that expects version 4 and writes version 7. All three enter the
change feed: the database links the first one to the object's newest change, and this module tells it the links between
them.

``goverse.commit_each`` commits record by record. It is used when a batch cannot be folded, for example because there is
a gap between two versions of one object, because an object is deleted and created again, or because an idempotency key
occurs twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from goverse.model.effects import ANY_VERSION
from goverse.model.keys import ROUTER_KEY_PREFIX, ObjectKey, router_number
from goverse.model.records import ANCHOR_EVERY, CommitRecord, StoredReply
from goverse.ports.authority import is_check
from goverse_node.stores.hashes import hash_column
from goverse_node.stores.postgres.kinds import kind_of

NUMBERS: Final = ("bigint[]", "integer[]")
"""Columns of numbers, which are sent as text. The driver needs half a microsecond for each element of an array; orjson
and the server together need a tenth of that."""

HEAD: Final = ("bigint", "integer", "integer", "bigint", "bigint")
"""Types of: writer, owner, session, the last batch that was committed, this batch."""

BATCH_TYPES: Final = (
    *("integer[]", "bigint[]"),
    *("bigint[]", "bytea[]", "bigint[]", "bigint[]", "bytea[]", "integer[]", "bigint[]", "integer[]", "bytea[]"),
    "integer",
    *("bigint[]", "bytea[]", "integer[]", "integer[]", "integer[]"),
    *("bigint[]", "bytea[]", "bigint[]"),
    *("bigint[]", "bytea[]", "bytea[]", "bytea[]", "bytea[]", "bigint[]", "integer[]"),
    *("bigint[]", "bytea[]", "bytea[]", "bytea[]", "bytea[]", "bigint[]", "integer[]"),
    *("text[]", "integer[]", "bigint[]", "bigint[]", "bigint[]", "bigint[]", "integer[]", "bytea[]"),
    *("text[]", "bigint[]"),
)
EACH_TYPES: Final = (
    *("bigint[]", "bytea[]", "bigint[]", "bigint[]", "bytea[]", "integer[]", "bigint[]", "integer[]", "bigint[]"),
    *("bytea[]", "boolean[]", "text[]", "bigint[]", "boolean[]", "bytea[]", "bytea[]", "bigint[]", "bytea[]"),
    *("bigint[]", "bytea[]"),
)

_FOLDED: Final = -1
"""The expected version of a change that is not the last one of its object in the batch."""

REPLY: Final = 15
"""The place of the reply in ``EACH_TYPES``."""


class _Changes:
    """The changes of a batch in order, as columns."""

    def __init__(self, base: int) -> None:
        self.kinds: list[int] = []
        self.ids: list[bytes] = []
        self.expected: list[int] = []
        self.versions: list[int] = []
        self.states: list[bytes | None] = []
        self.state_versions: list[int] = []
        self.at_ms: list[int] = []
        self.ordinals: list[int] = []
        self.creations: list[bytes | None] = []
        self.hashes: list[int] = []
        self.causes: list[bytes | None] = []
        self.places: dict[ObjectKey, int] = {}
        self.earlier: dict[int, int] = {}
        self._base = base

    def add(self, ordinal: int, record: CommitRecord) -> bool:
        """Add a change. Returns False if it does not follow the previous change of its object.

        A creation after a deletion in the same batch counts as not following: it begins another generation.
        """
        key, expected = record.key, record.expected
        if record.version != expected + 1:
            return False
        earlier, place = self.places.get(key), len(self.ids)
        if earlier is not None:
            if self.versions[earlier] != expected or self.states[earlier] is None:
                return False
            expected, self.expected[earlier] = self.expected[earlier], _FOLDED
            self.earlier[place] = earlier
        self.places[key] = place
        self.kinds.append(kind_of(key[0], key[1]))
        self.ids.append(key[2].encode())
        self.expected.append(expected)
        self.versions.append(record.version)
        self.states.append(record.state)
        self.state_versions.append(record.state_version)
        self.at_ms.append(record.at_ms)
        self.ordinals.append(ordinal)
        self.creations.append(record.creation)
        self.hashes.append(0 if expected else hash_column(key, self._base))
        self.causes.append(record.cause)
        return True

    def columns(self) -> list[Any]:
        return [
            self.kinds,
            self.ids,
            self.expected,
            self.versions,
            self.states,
            self.state_versions,
            self.at_ms,
            self.ordinals,
            self.creations,
            len(self.places),
            self.hashes,
            self.causes,
            *self._links(),
        ]

    def _links(self) -> tuple[list[int], list[int], list[int]]:
        """Return the columns that link the changes of an object that is changed more than once.

        They are the number of each change's object, and the places of the change before it and of its anchor, counted
        from 1 as in SQL. All are empty if no object is changed twice.
        """
        if not self.earlier:
            return [], [], []
        number_of = {place: number for number, place in enumerate(sorted(self.places.values()), 1)}
        last, before, anchors = list(range(len(self.ids))), [0] * len(self.ids), [0] * len(self.ids)
        for place, earlier in self.earlier.items():
            before[place] = earlier + 1
            anchors[place] = anchors[earlier] if self.versions[earlier] % ANCHOR_EVERY else earlier + 1
        for place, earlier in reversed(self.earlier.items()):
            last[earlier] = last[place]
        return [number_of[place] for place in last], before, anchors


class _Numbered:
    """The replies of a batch under idempotency keys that one router generated."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.ordinals: list[int] = []
        self.replies: list[bytes] = []
        self.lives_ms = 0

    def add(self, number: int, ordinal: int, reply: bytes, lives_ms: int) -> None:
        self.numbers.append(number)
        self.ordinals.append(ordinal)
        self.replies.append(reply)
        self.lives_ms = max(self.lives_ms, lives_ms)


class _Batch:
    """The columns of a batch.

    A reply carries the time for which it is kept. The database adds that to its own clock to get the expiry time.
    """

    def __init__(self, base: int) -> None:
        self.claims: dict[int, int] = {}
        self.changes = _Changes(base)
        self.unwritten: dict[ObjectKey, int] = {}
        self.keys: set[tuple[ObjectKey, str]] = set()
        self.router_keys: set[str] = set()  # each was generated for one call
        self.replies: list[tuple[Any, ...]] = []
        self.brief_replies: list[tuple[Any, ...]] = []
        self.routers: dict[str, _Numbered] = {}
        self.resent: list[tuple[str, int]] = []

    def add(self, ordinal: int, record: CommitRecord) -> bool:
        """Add a record. Returns False if the batch can no longer be folded."""
        if record.epoch and self.claims.setdefault(record.shard, record.epoch) != record.epoch:
            return False
        if record.version != record.expected:
            if self.unwritten.pop(record.key, record.expected) != record.expected:
                return False
            if not self.changes.add(ordinal, record):
                return False
        elif not is_check(record) and not self._expect(record):
            return False
        if record.reply is None or record.idempotency_key is None:
            return True
        return self._keep(ordinal, record, record.idempotency_key, record.reply)

    def _expect(self, record: CommitRecord) -> bool:
        """Add the version that a record without a change expects. Returns False if it contradicts another record."""
        if record.expected == ANY_VERSION and record.effects is not None:
            return True
        written = self.changes.places.get(record.key)
        if written is not None:
            return self.changes.versions[written] == record.expected
        return self.unwritten.setdefault(record.key, record.expected) == record.expected

    def _keep(self, ordinal: int, record: CommitRecord, idempotency_key: str, kept: StoredReply) -> bool:
        numbered, lives_ms = router_number(idempotency_key), kept.expires_ms - record.at_ms
        if numbered is None:
            place = (record.key, idempotency_key)
            if place in self.keys:
                return False
            self.keys.add(place)
            name = (kind_of(record.key[0], record.key[1]), record.key[2].encode(), idempotency_key.encode())
            replies = self.brief_replies if is_brief(idempotency_key) else self.replies
            replies.append((*name, kept.fingerprint, kept.reply, lives_ms, ordinal))
            return True
        if idempotency_key in self.router_keys:
            return False
        self.router_keys.add(idempotency_key)
        router, number = numbered
        found = self.routers.get(router)
        if found is None:
            found = self.routers[router] = _Numbered()
        found.add(number, ordinal, kept.reply, lives_ms)
        if not record.fresh_key:
            self.resent.append(numbered)
        return True

    def routed(self) -> list[Any]:
        """Return the columns of the routers, then of all their replies, then of the keys that were sent before."""
        per_router: list[tuple[Any, ...]] = []
        numbers: list[int] = []
        ordinals: list[int] = []
        replies: list[bytes] = []
        for router, each in self.routers.items():
            numbers += each.numbers
            ordinals += each.ordinals
            replies += each.replies
            per_router.append((router, len(numbers), min(each.numbers), max(each.numbers), each.lives_ms))
        return [*columns_of(per_router, 5), numbers, ordinals, replies, *columns_of(self.resent, 2)]


def is_brief(idempotency_key: str) -> bool:
    """True if the key was derived from a router's key. Such keys are only needed for some minutes."""
    return idempotency_key.startswith(ROUTER_KEY_PREFIX) and router_number(idempotency_key) is None


def folded(batch: Sequence[CommitRecord], base: int) -> list[Any] | None:
    """Return the arguments of ``commit_batch`` after ``p_batch``, or None if the batch cannot be folded."""
    found = _Batch(base)
    for ordinal, record in enumerate(batch):
        if not found.add(ordinal, record):
            return None
    unwritten = [(kind_of(key[0], key[1]), key[2].encode(), version) for key, version in found.unwritten.items()]
    columns = [
        list(found.claims),
        list(found.claims.values()),
        *found.changes.columns(),
        *columns_of(unwritten, 3),
        *columns_of(found.replies, 7),
        *columns_of(found.brief_replies, 7),
        *found.routed(),
    ]
    return as_text(columns, BATCH_TYPES)


def each(batch: Sequence[CommitRecord], base: int) -> list[Any]:
    """Return the arguments of ``commit_each`` after ``p_batch``."""
    return as_text(columns_of([row_of(record, base) for record in batch], len(EACH_TYPES)), EACH_TYPES)


def as_text(columns: list[Any], types: Sequence[str]) -> list[Any]:
    """Return the columns of a batch as arguments: those of numbers as text."""
    return [
        f"{{{orjson.dumps(column)[1:-1].decode()}}}" if sql_type in NUMBERS else column
        for column, sql_type in zip(columns, types, strict=True)
    ]


def row_of(record: CommitRecord, base: int) -> tuple[Any, ...]:
    """Return a record as a row for ``commit_each``."""
    key, kept = record.key, record.reply if record.idempotency_key is not None else None
    numbered = router_number(record.idempotency_key) if kept is not None and record.idempotency_key else None
    chosen = record.idempotency_key.encode() if kept and not numbered and record.idempotency_key else None
    router, number = numbered or (None, None)
    return (
        kind_of(key[0], key[1]),
        key[2].encode(),
        record.expected,
        record.version,
        record.state,
        record.state_version,
        record.at_ms,
        record.shard,
        record.epoch,
        chosen,
        chosen is not None and is_brief(record.idempotency_key or ""),
        router,
        number,
        not record.fresh_key,
        kept.fingerprint if kept is not None else None,
        kept.reply if kept is not None else None,
        kept.expires_ms - record.at_ms if kept is not None else None,
        record.creation,
        0 if record.expected else hash_column(key, base),
        record.cause,
    )


def columns_of(rows: Sequence[tuple[Any, ...]], width: int) -> list[Any]:
    """Return ``width`` columns, also of no rows."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
