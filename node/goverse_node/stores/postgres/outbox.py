"""Reading of pending calls, receipts and finished calls. Commit records write them (``effects``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar, get_args

from goverse.model.effects import CallState, FinishedCall, PendingCall, decode_call
from goverse.model.keys import ObjectKey
from goverse.model.receipts import NO_RECEIPT, Receipt, number_of, place_of
from goverse.ports.outbox import CallFilter
from goverse_node.stores.postgres.kinds import kind_of
from goverse_node.stores.postgres.statements import fetch, query

T = TypeVar("T")

Pair = tuple[ObjectKey, ObjectKey]
"""A receiver and a sender."""

Limits = Mapping[CallState, int]
"""The longest time for which ends of calls are kept, by state, in milliseconds."""

_SHARE_MIN: Final = 16
_STATES: Final[list[CallState]] = sorted(get_args(CallState))
_UNLIMITED_MS: Final = 1 << 62
_NEWEST: Final = (1 << 63) - 1


class Read(Protocol):
    """Runs work that changes nothing on a connection from the pool."""

    async def __call__(self, work: Callable[[Any], Awaitable[T]], /) -> T:
        """Call ``work`` with a connection and return its result."""
        ...


async def pending(read: Read, shards: Collection[int], after: int, limit: int) -> list[PendingCall]:
    """Return pending calls as ``Outbox.pending`` does.

    The shards are read in shares, so that a page costs about as many rows as it has, however many calls wait: a shard
    that filled its share may have more calls, but not before the last one of the share.
    """
    wanted = sorted(set(shards))
    share = min(limit, max(_SHARE_MIN, 2 * limit // max(1, len(wanted))))
    found: list[PendingCall] = []
    while True:
        rows = await read(partial(fetch, query("pending"), wanted, *place_of(after), share))
        counts = Counter(row["shard"] for row in rows)
        last = {row["shard"]: number_of(row["seq"], row["part"]) for row in rows}
        end = min((last[shard] for shard, count in counts.items() if count == share), default=None)
        calls = map(_pending, rows)
        found += calls if end is None else (call for call in calls if call.number <= end)
        if end is None or len(found) >= limit:
            return found[:limit]
        after = end


async def pending_where(
    read: Read, where: CallFilter, *, shard: int | None, after: tuple[int, int] | None, limit: int
) -> list[PendingCall]:
    """Return pending calls as ``Outbox.pending_where`` does. A page is a range of the primary key."""
    place = (-1, 0, 0) if after is None else (after[0], *place_of(after[1]))
    objects = (*_optional(where.sender), *_optional(where.receiver))
    names = (where.namespace, where.type, *objects)
    rows = await read(partial(fetch, query("pending_where"), *place, shard, *names, limit))
    return [_pending(row) for row in rows]


async def receipts(read: Read, pairs: Sequence[Pair]) -> list[Receipt]:
    """Return the receipts of pairs."""
    columns = [(*_name(receiver), *_name(sender)) for receiver, sender in pairs]
    rows = await read(partial(fetch, query("receipts"), *map(list, zip(*columns, strict=True))))
    found = {row["place"]: row for row in rows}
    return [_receipt(found.get(place)) for place in range(1, len(pairs) + 1)]


async def finished(
    read: Read, most_ms: Limits, where: CallFilter, after: tuple[int, str] | None, limit: int
) -> list[FinishedCall]:
    """Return finished calls as ``Outbox.finished`` does."""
    before, behind = (_NEWEST, b"") if after is None else (after[0], after[1].encode())
    if where.finished_before_ms is not None and where.finished_before_ms <= before:
        before, behind = where.finished_before_ms, b""
    arguments = (before, behind, *_filter(where), limit, _most(where, most_ms))
    rows = await read(partial(fetch, query("finished"), *arguments))
    return [_finished(row) for row in rows]


async def finished_call(
    read: Read, most_ms: Limits, namespace: str, call_id: str, sender: ObjectKey | None
) -> FinishedCall | None:
    """Return a finished call as ``Outbox.finished_call`` does."""
    arguments = (call_id.encode(), namespace, *_optional(sender), _STATES, _most(CallFilter(), most_ms))
    rows = await read(partial(fetch, query("finished_call"), *arguments))
    return _finished(rows[0]) if rows else None


async def count_finished(read: Read, most_ms: Limits, where: CallFilter, limit: int) -> int:
    """Count finished calls as ``Outbox.count_finished`` does."""
    before = _NEWEST if where.finished_before_ms is None else where.finished_before_ms
    arguments = (before, *_filter(where), limit, _most(where, most_ms))
    rows = await read(partial(fetch, query("count_finished"), *arguments))
    return int(rows[0]["count"])


async def forget_finished(most_ms: Limits, where: CallFilter, limit: int, connection: Any) -> int:
    """Remove finished calls as ``Outbox.forget_finished`` does."""
    before = _NEWEST if where.finished_before_ms is None else where.finished_before_ms
    arguments = (before, *_filter(where), limit, _most(where, most_ms))
    done = await connection.execute(query("forget_finished"), *arguments)
    return int(done.rpartition(" ")[2])


def _states(where: CallFilter) -> list[CallState]:
    return _STATES if where.states is None else sorted(where.states)


def _most(where: CallFilter, most_ms: Limits) -> list[int]:
    return [most_ms.get(state, _UNLIMITED_MS) for state in _states(where)]


def _filter(where: CallFilter) -> tuple[Any, ...]:
    return _states(where), where.namespace, where.type, *_optional(where.sender), *_optional(where.receiver)


def _optional(key: ObjectKey | None) -> tuple[int, bytes] | tuple[None, None]:
    return (None, None) if key is None else _name(key)


def _name(key: ObjectKey) -> tuple[int, bytes]:
    return kind_of(key[0], key[1]), key[2].encode()


def _sender(row: Any) -> ObjectKey:
    return ObjectKey(row["namespace"], row["type"], row["sender_id"].decode())


def _pending(row: Any) -> PendingCall:
    number = number_of(row["seq"], row["part"])
    return PendingCall(number, _sender(row), row["shard"], decode_call(row["content"]), row["attempts"], row["void"])


def _receipt(row: Any) -> Receipt:
    if row is None:
        return NO_RECEIPT
    return Receipt(int(row["last"]), dict(zip(map(int, row["numbers"]), row["outcomes"], strict=True)))


def _finished(row: Any) -> FinishedCall:
    return FinishedCall(
        decode_call(row["content"]),
        _sender(row),
        row["state"],
        row["outcome"],
        row["attempts"],
        row["finished_ms"],
        row["expires_ms"],
    )
