"""The tests of rule 8 of ``goverse.ports.outbox``: which receipts a store removes, and what it refuses afterwards.

Use it like ``goverse.testing.outbox_contract``. The calls are in the shards of their senders, because a store may look
for pending calls there.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, Protocol, cast

from goverse.limits import CLUSTER_SHARDS
from goverse.model.effects import SentCall
from goverse.model.keys import ObjectKey, placement_hash, shard_at
from goverse.model.receipts import NO_RECEIPT, number_of
from goverse.model.records import CommitRecord
from goverse.ports.outbox import KeepsReceipts
from goverse.ports.store import Conflict
from goverse.testing.outbox_harness import (
    RECEIVER,
    SENDER,
    OutboxHarness,
    OutboxStore,
    effects,
    receipt,
    sends,
    sent,
    settles_of,
)
from goverse.testing.store_harness import CompleteStore, put, seqs_of

OTHER_SENDER: Final = ObjectKey("default", "Order", "o1")
THIRD: Final = ObjectKey("default", "Account", "third")


class ForgetfulStore(OutboxStore, KeepsReceipts, Protocol):
    """A store that keeps outboxes and removes receipts that are not needed."""


class ForgottenReceiptContract(OutboxHarness):
    """The tests that every store passes that removes receipts; subclasses implement ``make_store``."""

    def make_store(self) -> ForgetfulStore:
        """Return a store that is not open yet, with ``self.clock`` and with data of its own."""
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[ForgetfulStore, None]:
        """Provide an open store; close it at the end."""
        async with super().opened() as store:
            yield cast("ForgetfulStore", store)

    async def restart(self, store: CompleteStore) -> ForgetfulStore:
        """Return the store as a new process would open it; by default, close and open the same store."""
        return cast("ForgetfulStore", await super().restart(store))

    async def test_a_receipt_is_kept_while_its_call_is_pending(self) -> None:
        async with self.opened() as store:
            number = await _send(store, SENDER)
            await seqs_of(store, [settles_of(SENDER, RECEIVER, number, outcome=b"paid")])
            for version in range(3):
                await seqs_of(store, [put(THIRD, version)])
                assert await store.forget_receipts() == 0
            assert (await receipt(store)).outcomes == {number: b"paid"}
            (repeated,) = await store.commit([settles_of(SENDER, RECEIVER, number)])
            assert isinstance(repeated, Conflict)

    async def test_a_receipt_goes_when_its_call_is_settled_for_good(self) -> None:
        async with self.opened() as store:
            number = await _exchange(store, SENDER, RECEIVER)
            assert await store.forget_receipts() == 0, "it was needed since the previous call"
            assert await store.forget_receipts() == 1
            assert await receipt(store) == NO_RECEIPT
            assert await store.forget_receipts() == 0

            late, same = await store.commit([settles_of(SENDER, RECEIVER, number), settles_of(SENDER, THIRD, number)])
            assert isinstance(late, Conflict), "the call has taken effect"
            assert isinstance(same, Conflict), "no call with this number is pending"
            assert not late.fenced
            later = await _exchange(store, SENDER, RECEIVER)
            assert (await receipt(store)).last == later > number

    async def test_a_receipt_is_kept_while_an_earlier_call_of_its_sender_is_pending(self) -> None:
        async with self.opened() as store:
            await _exchange(store, SENDER, RECEIVER)
            waiting = await _send(store, SENDER, THIRD)
            behind = await _exchange(store, SENDER, SENDER)
            await _exchange(store, OTHER_SENDER, RECEIVER)
            await store.forget_receipts()
            assert await store.forget_receipts() == 2, "one from before the pending call, and one of another sender"
            assert await receipt(store) == await receipt(store, RECEIVER, OTHER_SENDER) == NO_RECEIPT
            assert (await receipt(store, SENDER, SENDER)).last == behind

            await seqs_of(store, [settles_of(SENDER, THIRD, waiting)])
            assert await store.forget_receipts() == 0
            assert (await receipt(store, THIRD, SENDER)).last == waiting
            await seqs_of(store, [effects(SENDER, _shard(SENDER), removes=(waiting,))])
            assert await store.forget_receipts() == 2

    async def test_calls_that_are_never_delivered_keep_no_receipts(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [_sends(SentCall("@once/mail", SENDER, "@once", b"{}"))])
            await _exchange(store, SENDER, RECEIVER)
            await seqs_of(store, [_sends(SentCall("@mine", THIRD, "deposit", b"{}"))])
            behind = await _exchange(store, SENDER, RECEIVER)
            await _exchange(store, OTHER_SENDER, RECEIVER)
            await store.forget_receipts()
            assert await store.forget_receipts() == 1, "the id alone makes no note"
            assert (await receipt(store)).last == behind
            waiting = await store.pending([_shard(SENDER)], after=0, limit=9)
            assert [call.call.id for call in waiting] == ["@once/mail", "@mine"]

            await seqs_of(store, [settles_of(SENDER, THIRD, waiting[1].number)])
            await seqs_of(store, [effects(SENDER, _shard(SENDER), removes=(waiting[1].number,))])
            assert await store.forget_receipts() == 2, "only the note is pending"
            late = await _send(store, SENDER)
            await seqs_of(store, [settles_of(SENDER, RECEIVER, late)])

    async def test_receipts_and_pending_calls_are_the_same_after_a_restart(self) -> None:
        async with self.opened() as store:
            await _exchange(store, OTHER_SENDER, RECEIVER)
            waiting = await _send(store, SENDER)
            await seqs_of(store, [settles_of(SENDER, RECEIVER, waiting)])
            await store.forget_receipts()
            later = await self.restart(store)
            try:
                for _ in range(2):
                    await _exchange(later, OTHER_SENDER, THIRD)
                    await later.forget_receipts()
                assert (await receipt(later)).last == waiting
                assert await receipt(later, RECEIVER, OTHER_SENDER) == NO_RECEIPT
                assert (await receipt(later, THIRD, OTHER_SENDER)).last > waiting
            finally:
                await later.close()


def _sends(call: SentCall) -> CommitRecord:
    return sends(call, key=SENDER, shard=_shard(SENDER))


def _shard(sender: ObjectKey) -> int:
    return shard_at(placement_hash(sender), CLUSTER_SHARDS)


async def _send(store: OutboxStore, sender: ObjectKey, receiver: ObjectKey = RECEIVER) -> int:
    """Send one call, and return its number."""
    (seq,) = await seqs_of(store, [sends(sent(receiver=receiver), key=sender, shard=_shard(sender))])
    return number_of(seq, 0)


async def _exchange(store: OutboxStore, sender: ObjectKey, receiver: ObjectKey) -> int:
    """Send one call, settle it, and remove it. Returns its number."""
    number = await _send(store, sender, receiver)
    await seqs_of(store, [settles_of(sender, receiver, number)])
    await seqs_of(store, [effects(sender, _shard(sender), removes=(number,))])
    return number
