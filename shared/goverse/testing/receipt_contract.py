"""The tests of receipts, as a part of the outbox contract."""

from __future__ import annotations

from dataclasses import replace

from goverse.model.keys import ObjectKey
from goverse.model.receipts import NO_RECEIPT, WINDOW, Receipt, number_of
from goverse.ports.store import Conflict
from goverse.testing.outbox_harness import RECEIVER, SENDER, OutboxHarness, receipt, settles, settles_of
from goverse.testing.store_harness import load, put, seqs_of


class ReceiptContract(OutboxHarness):
    """The tests that every store passes for receipts."""

    async def test_a_pair_without_a_settled_call_has_an_empty_receipt(self) -> None:
        async with self.opened() as store:
            assert await receipt(store) == NO_RECEIPT

    async def test_a_settlement_is_kept_with_its_outcome(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [settles(7, outcome=b"\x00\xff outcome")])
            assert await receipt(store) == Receipt(7, {7: b"\x00\xff outcome"})
            assert await receipt(store, SENDER, RECEIVER) == NO_RECEIPT
            later = await self.restart(store)
            try:
                assert await receipt(later) == Receipt(7, {7: b"\x00\xff outcome"})
            finally:
                await later.close()

    async def test_a_settlement_and_the_change_of_its_record_are_one(self) -> None:
        async with self.opened() as store:
            settled = replace(put(RECEIVER, 0, b"paid"), effects=settles(7).effects)
            again = replace(put(RECEIVER, 1, b"twice"), effects=settles(7).effects)
            good, repeated = await store.commit([settled, again])

            assert isinstance(good, int)
            assert isinstance(repeated, Conflict)
            assert not repeated.fenced
            found = await load(store, RECEIVER)
            assert found is not None
            assert (found.version, found.state) == (1, b"paid")

    async def test_outcomes_are_kept_from_the_head_on(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [settles(7), settles(9, prev=7, head=7, outcome=b"9")])
            assert await receipt(store) == Receipt(9, {7: b"done", 9: b"9"})
            await seqs_of(store, [settles(12, prev=9, head=9, outcome=b"")])
            assert await receipt(store) == Receipt(12, {9: b"9", 12: b""})
            await seqs_of(store, [settles(13, prev=12, head=7, outcome=b"13")])
            expected = Receipt(13, {9: b"9", 12: b"", 13: b"13"})
            assert await receipt(store) == expected
            later = await self.restart(store)
            try:
                assert await receipt(later) == expected
                await seqs_of(later, [settles(20)])
                assert await receipt(later) == Receipt(20, {20: b"done"})
            finally:
                await later.close()

    async def test_a_receipt_keeps_as_many_outcomes_as_the_window_allows(self) -> None:
        async with self.opened() as store:
            numbers = range(1, WINDOW + 1)
            await seqs_of(store, [settles(at, prev=at - 1, head=1, outcome=b"%d" % at) for at in numbers])

            assert await receipt(store) == Receipt(WINDOW, {at: b"%d" % at for at in numbers})

    async def test_a_duplicate_is_refused_alone(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [settles(7), settles(9, prev=7)])
            outcomes = await store.commit([settles(7), settles(9, prev=7), settles(8), put(SENDER, 0)])

            assert [isinstance(outcome, int) for outcome in outcomes] == [False, False, False, True]
            assert await receipt(store) == Receipt(9, {9: b"done"})

    async def test_a_delivery_before_its_predecessor_is_refused(self) -> None:
        async with self.opened() as store:
            early, first, next_, stale = await store.commit(
                [settles(9, prev=7), settles(7), settles(9, prev=7), settles(11, prev=7)]
            )

            assert [isinstance(each, int) for each in (early, first, next_, stale)] == [False, True, True, False]
            assert (await receipt(store)).last == 9

    async def test_settlements_of_a_pair_in_one_batch_count_in_order(self) -> None:
        async with self.opened() as store:
            outcomes = await store.commit(
                [settles(1), settles(1), settles(2, prev=1, head=1), settles(4, prev=3), settles(3, prev=2, head=2)]
            )

            assert [isinstance(outcome, int) for outcome in outcomes] == [True, False, True, False, True]
            assert await receipt(store) == Receipt(3, {2: b"done", 3: b"done"})

    async def test_a_settlement_that_fails_for_its_version_does_not_move_the_receipt(self) -> None:
        async with self.opened() as store:
            stale = replace(put(RECEIVER, 5), effects=settles(1).effects)
            refused, good = await store.commit([stale, settles(1)])

            assert isinstance(refused, Conflict)
            assert isinstance(good, int)
            assert await receipt(store) == Receipt(1, {1: b"done"})

    async def test_pairs_are_never_mixed_up(self) -> None:
        async with self.opened() as store:
            ids = ["a", "ab", "b", "a:b", "1:a", "a/b", "größe", "a\n", "a b"]
            keys = [ObjectKey(*name) for name in (("n", "T", each) for each in ids)]
            keys += [ObjectKey("nT", "T", "a"), ObjectKey("n", "TT", "a")]
            pairs = [(sender, receiver) for sender in keys for receiver in keys]
            for at, (sender, receiver) in enumerate(pairs, 1):
                await seqs_of(store, [settles_of(sender, receiver, at, outcome=b"%d" % at)])
            later = await self.restart(store)
            try:
                for at, (sender, receiver) in enumerate(pairs, 1):
                    assert await receipt(later, receiver, sender) == Receipt(at, {at: b"%d" % at})
            finally:
                await later.close()

    async def test_numbers_may_have_more_than_64_bits(self) -> None:
        async with self.opened() as store:
            first, second = number_of((1 << 62) - 2, 3), number_of((1 << 62) - 1, 9_999)
            await seqs_of(store, [settles(first), settles(second, prev=first, head=first)])
            later = await self.restart(store)
            try:
                assert await receipt(later) == Receipt(second, {first: b"done", second: b"done"})
            finally:
                await later.close()

    async def test_an_object_may_settle_its_own_call(self) -> None:
        async with self.opened() as store:
            own = settles_of(RECEIVER, RECEIVER, 3)
            await seqs_of(store, [replace(put(RECEIVER, 0), effects=own.effects)])

            assert await receipt(store, RECEIVER, RECEIVER) == Receipt(3, {3: b"done"})
