"""Test harness of the outbox contract: functions that make calls, records with effects, and deliveries."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Protocol

from goverse.model.call_retention import CallRetention
from goverse.model.effects import ANY_VERSION, CallState, Effects, FinishedCall, PendingCall, SentCall
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Delivery, Receipt, Settlement
from goverse.model.records import CommitRecord
from goverse.ports.outbox import Outbox
from goverse.testing.store_harness import KEY, NOW_MS, OTHER, CompleteStore, StoreHarness

SENDER, RECEIVER = KEY, OTHER
SHARD = 5


class OutboxStore(CompleteStore, Outbox, Protocol):
    """A store with history and census that also keeps outboxes, receipts and finished calls."""


class OutboxHarness(StoreHarness):
    """The store harness for stores that keep outboxes.

    Attributes:
        call_retention: the limits on finished calls that ``make_store`` passes on to the store.
    """

    call_retention: CallRetention | None = None

    def make_store(self) -> OutboxStore:
        """Return a store that is not open yet, with ``self.clock`` and with data of its own."""
        raise NotImplementedError


def sent(call_id: str = "c_1", *, receiver: ObjectKey = RECEIVER, **further: Any) -> SentCall:
    """Return a call as a turn sends it."""
    call = SentCall(call_id, receiver, "pay", b'{"amount":7}', sent_ms=NOW_MS, expires_ms=NOW_MS + 60_000)
    return call._replace(**further)


def effects(key: ObjectKey = SENDER, shard: int = SHARD, **members: Any) -> CommitRecord:
    """Return a record with nothing but effects."""
    none = CommitRecord(key, ANY_VERSION, ANY_VERSION, None, 1, NOW_MS, shard=shard)
    return replace(none, effects=Effects(**members))


def sends(*calls: SentCall, key: ObjectKey = SENDER, shard: int = SHARD) -> CommitRecord:
    """Return a record that only sends."""
    return effects(key, shard, sends=calls)


def settles(number: int, *, prev: int = 0, head: int | None = None, outcome: bytes = b"done") -> CommitRecord:
    """Return a record in which ``RECEIVER`` settles a call of ``SENDER``; ``head`` is the call itself by default."""
    return settles_of(SENDER, RECEIVER, number, prev=prev, head=head, outcome=outcome)


def settles_of(
    sender: ObjectKey,
    receiver: ObjectKey,
    number: int,
    *,
    prev: int = 0,
    head: int | None = None,
    outcome: bytes = b"done",
) -> CommitRecord:
    """Return a record in which ``receiver`` settles a call of ``sender``."""
    delivery = Delivery(sender, number, prev, number if head is None else head)
    return effects(receiver, 0, settles=Settlement(delivery, outcome))


def settlement(number: int) -> Settlement:
    """Return the settlement of a call of ``SENDER`` that has no predecessor."""
    return Settlement(Delivery(SENDER, number, 0, number), b"done")


def ended(
    call: SentCall | None = None,
    *,
    sender: ObjectKey = SENDER,
    state: CallState = "success",
    finished_ms: int = NOW_MS,
    kept_ms: int = 60_000,
) -> FinishedCall:
    """Return the end of a call, which is kept for ``kept_ms`` from the beginning of the test."""
    return FinishedCall(call or sent(), sender, state, b"\x00outcome\xff", 2, finished_ms, NOW_MS + kept_ms)


def keeps(*ends: FinishedCall) -> CommitRecord:
    """Return a record of the sender of ``ends`` that keeps them."""
    return effects(ends[0].sender, finished=ends)


async def pending(
    store: Outbox, shards: Collection[int] = (SHARD,), *, after: int = 0, limit: int = 100
) -> Sequence[PendingCall]:
    """Return a page of pending calls, and check that it is sorted."""
    found = await store.pending(shards, after=after, limit=limit)
    assert [call.number for call in found] == sorted({call.number for call in found})
    return found


async def receipt(store: Outbox, receiver: ObjectKey = RECEIVER, sender: ObjectKey = SENDER) -> Receipt:
    """Return the receipt of a pair from a store that returns a value or a future."""
    answer = store.receipt(receiver, sender)
    return await answer if isinstance(answer, Future) else answer
