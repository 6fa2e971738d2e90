"""Tests of the rules in ``goverse.ports.outbox``, for any store that keeps outboxes.

Use it like :class:`goverse.testing.store_contract.StoreContract`: subclass it and implement ``make_store``; override
``restart`` if a restart needs more than closing and opening the store. A store that is an authority, too, also passes
:class:`FencedOutboxContract`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from goverse.model.effects import ANY_VERSION, Effects, Mark, PendingCall, SentCall
from goverse.model.keys import ObjectKey
from goverse.model.notes import KEPT_RESULT, note_id
from goverse.model.receipts import number_of
from goverse.model.records import CommitRecord
from goverse.ports.authority import Authority
from goverse.ports.outbox import CallFilter, Outbox
from goverse.ports.store import Conflict, Store
from goverse.testing.finished_contract import FinishedContract
from goverse.testing.outbox_harness import (
    RECEIVER,
    SENDER,
    SHARD,
    effects,
    ended,
    pending,
    receipt,
    sends,
    sent,
    settlement,
    settles,
)
from goverse.testing.receipt_contract import ReceiptContract
from goverse.testing.store_harness import delete, keep, load, put, recall, seqs_of


class OutboxContract(ReceiptContract, FinishedContract):
    """The tests that every store passes for reliable calls; subclasses implement ``make_store``."""

    async def test_a_call_that_was_sent_is_pending_as_it_was_sent(self) -> None:
        async with self.opened() as store:
            call = sent(
                "order-7",
                receiver=ObjectKey("other", "Kasse", "größe\n7"),
                body='{"text":"Zoë \\u0000"}'.encode(),
                then="paid",
                due_ms=17,
                attempts_max=3,
                first_ms=1,
                longest_ms=2,
                on_failure="hold",
                keep_ms=3,
                subject="alice",
                request_id="r-1",
                traceparent="00-1-2-01",
                tracestate="a=b",
            )
            (seq,) = await seqs_of(store, [sends(call)])

            assert await pending(store) == [PendingCall(number_of(seq, 0), SENDER, SHARD, call)]

    async def test_a_record_that_only_sends_is_durable_and_changes_no_object(self) -> None:
        async with self.opened() as store:
            first, second = await seqs_of(store, [sends(sent("c_1")), sends(sent("c_2"))])

            assert first < second == store.health().commit_seq
            assert await load(store, SENDER) is None
            assert await store.changes(0, 100) == []
            again = await self.restart(store)
            try:
                assert [call.call.id for call in await pending(again)] == ["c_1", "c_2"]
                assert first <= again.health().commit_seq <= second  # at least the beginning of the batch
                assert (await seqs_of(again, [sends(sent("c_3"))]))[0] > second
            finally:
                await again.close()

    async def test_numbers_follow_from_the_position_and_the_place(self) -> None:
        async with self.opened() as store:
            (first,) = await seqs_of(store, [sends(sent("a"), sent("b"), sent("c"))])
            (second,) = await seqs_of(store, [sends(sent("d"))])

            numbers = [(call.call.id, call.number) for call in await pending(store)]
            expected = [("a", first, 0), ("b", first, 1), ("c", first, 2), ("d", second, 0)]
            assert numbers == [(name, number_of(seq, part)) for name, seq, part in expected]

    async def test_pending_calls_are_read_in_pages_by_shard(self) -> None:
        async with self.opened() as store:
            for at in range(12):
                await seqs_of(store, [sends(sent(f"c_{at}"), sent(f"d_{at}"), shard=at % 3)])
            everything = await pending(store, [0, 1, 2, 77])
            some, after = list[PendingCall](), 0
            while page := await pending(store, (0, 2), after=after, limit=3):
                assert len(page) <= 3
                some += page
                after = page[-1].number

            assert len(everything) == 24
            assert some == [call for call in everything if call.shard != 1]
            assert await pending(store, [1]) == [call for call in everything if call.shard == 1]
            assert await pending(store, []) == []
            assert await pending(store, [77]) == []

    async def test_pending_calls_of_all_shards_are_listed_in_pages_by_a_filter(self) -> None:
        async with self.opened() as store:
            foreign, third = ObjectKey("other", "Counter", "c1"), ObjectKey("default", "Kasse", "k")
            await seqs_of(store, [sends(sent("a"), sent("b", receiver=third), shard=3)])
            await seqs_of(store, [sends(sent("c"), sent("d"), key=foreign, shard=0)])
            await seqs_of(store, [sends(sent("e"), key=third, shard=7), sends(sent("f"), shard=3)])
            cases: list[tuple[CallFilter, int | None, str]] = [
                (CallFilter(), None, "cdabfe"),
                (CallFilter(namespace="default"), None, "abfe"),
                (CallFilter(type="Kasse"), None, "b"),
                (CallFilter(sender=SENDER), None, "abf"),
                (CallFilter(sender=SENDER), 3, "abf"),
                (CallFilter(receiver=RECEIVER), 3, "af"),
                (CallFilter(), 7, "e"),
                (CallFilter(), 77, ""),
                (CallFilter(namespace="none"), None, ""),
            ]
            for where, shard, expected in cases:
                found, after = list[PendingCall](), None
                while page := await store.pending_where(where, shard=shard, after=after, limit=2):
                    assert len(page) <= 2
                    found += page
                    after = (page[-1].shard, page[-1].number)
                assert "".join(call.call.id for call in found) == expected, where
            assert list(await store.pending_where(CallFilter(), limit=99)) == [
                call for shard in (0, 3, 7) for call in await pending(store, (shard,))
            ]

    async def test_a_note_stays_until_a_record_removes_it(self) -> None:
        async with self.opened() as store:
            note = SentCall(
                note_id(KEPT_RESULT, "größe/1"), SENDER, KEPT_RESULT, b'{"type":"int","value":7}', sent_ms=1
            )
            older = note._replace(body=b"{}")
            (first,) = await seqs_of(store, [sends(older)])
            (second,) = await seqs_of(store, [effects(sends=(note,), removes=(number_of(first, 0),))])
            await store.forget_finished(CallFilter(), limit=100)
            again = await self.restart(store)
            try:
                assert list(await pending(again)) == [PendingCall(number_of(second, 0), SENDER, SHARD, note)]
                await seqs_of(again, [effects(removes=(number_of(second, 0),))])
                assert list(await pending(again)) == []
            finally:
                await again.close()

    async def test_a_record_with_state_reply_and_effects_keeps_all_of_them(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(SENDER, 0), sends(sent("c_0"))])
            (old,) = await pending(store)
            kept = keep(SENDER, 1, "k", self.reply(b"answer"), changes=True)
            several = Effects((sent("c_1"),), settlement(1 << 20), (old.number,), (), (ended(),))
            (seq,) = await seqs_of(store, [replace(kept, shard=SHARD, effects=several)])
            changes = await store.changes(0, 100)
            assert [(change.version, change.state) for change in changes] == [(1, b"{}"), (2, b'{"kept":true}')]
            later = await self.restart(store)
            try:
                found, reply = await load(later, SENDER), await recall(later, SENDER, "k")
                assert found is not None
                assert reply is not None
                assert (found.version, found.state, found.commit_seq) == (2, b'{"kept":true}', seq)
                assert (reply.reply, reply.commit_seq) == (b"answer", seq)
                assert [(call.number, call.call.id) for call in await pending(later)] == [(number_of(seq, 0), "c_1")]
                assert (await receipt(later, SENDER, SENDER)).last == 1 << 20
                assert await later.finished(CallFilter(), limit=9) == [ended()]
            finally:
                await later.close()

    async def test_a_turn_that_only_sends_checks_the_version_and_does_not_raise_it(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(SENDER, 0, b"1")])
            same = CommitRecord(SENDER, 1, 1, None, 1, 0, shard=SHARD, effects=Effects((sent(),)))
            good, stale = await store.commit([same, replace(same, expected=0, version=0)])

            assert isinstance(good, int)
            assert isinstance(stale, Conflict)
            found = await load(store, SENDER)
            assert found is not None
            assert (found.version, found.state) == (1, b"1")
            assert len(await pending(store)) == 1
            await seqs_of(store, [put(SENDER, 1, b"2")])

    async def test_a_conflict_leaves_nothing_of_the_record(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(SENDER, 0), sends(sent("c_1"))])
            (old,) = await pending(store)
            everything = Effects((sent("c_2"),), settlement(9), (old.number,), (Mark(old.number, 4),), (ended(),))
            refused = [
                CommitRecord(SENDER, 7, 8, b"{}", 1, 0, shard=SHARD, effects=everything),
                replace(effects(SENDER), expected=7, version=7, effects=everything),
            ]
            outcomes = await store.commit([*refused, put(RECEIVER, 0)])

            assert [isinstance(outcome, int) for outcome in outcomes] == [False, False, True]
            assert await pending(store) == [old]
            assert (await receipt(store, SENDER, SENDER)).last == 0
            assert await store.finished(CallFilter(), limit=9) == []

    async def test_a_second_reply_under_a_key_is_refused_with_its_effects(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [keep(SENDER, 0, "k", self.reply())])
            again = replace(keep(SENDER, 0, "k", self.reply()), shard=SHARD, effects=Effects((sent(),)))
            (outcome,) = await store.commit([again])

            assert isinstance(outcome, Conflict)
            assert await pending(store) == []

    async def test_a_record_that_only_sends_keeps_its_reply_and_is_refused_the_second_time(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(RECEIVER, 0)])
            for key, version in ((SENDER, 0), (RECEIVER, 1)):
                submitted = replace(keep(key, version, "k", self.reply()), shard=SHARD, effects=Effects((sent(),)))
                (first,) = await store.commit([submitted])
                (second,) = await store.commit([replace(submitted, effects=Effects((sent("c_2"),)))])

                assert (isinstance(first, int), isinstance(second, Conflict)) == (True, True), (first, second)
                kept = await recall(store, key, "k")
                assert kept is not None
                assert kept.reply == self.reply().reply
            assert [(call.sender, call.call.id) for call in await pending(store)] == [
                (SENDER, "c_1"),
                (RECEIVER, "c_1"),
            ]
            await seqs_of(store, [put(SENDER, 0), put(RECEIVER, 1)])

    async def test_any_version_fits_every_object_and_changes_none(self) -> None:
        async with self.opened() as store:
            live, gone, never = (ObjectKey("default", "Counter", name) for name in ("live", "gone", "never"))
            await seqs_of(store, [put(live, 0), put(live, 1, b"now"), put(gone, 0), delete(gone, 1)])
            before = [await load(store, key) for key in (live, gone, never)]
            await seqs_of(store, [sends(sent(), key=key) for key in (live, gone, never)])

            assert [await load(store, key) for key in (live, gone, never)] == before
            assert [call.sender for call in await pending(store)] == [live, gone, never]
            await seqs_of(store, [put(live, 2), put(gone, 2), put(never, 0)])

    async def test_any_version_fits_beside_a_change_of_the_same_object_in_the_batch(self) -> None:
        async with self.opened() as store:
            batch = [sends(sent("a")), put(SENDER, 0, b"1"), sends(sent("b")), put(SENDER, 1, b"2"), delete(SENDER, 2)]
            seqs = await seqs_of(store, [*batch, sends(sent("c"))])

            found = await load(store, SENDER)
            assert found is not None
            assert (found.version, found.state) == (3, None)
            assert [change.commit_seq for change in await store.changes(0, 9)] == [seqs[1], seqs[3], seqs[4]]
            numbers = [number_of(seqs[at], 0) for at in (0, 2, 5)]
            assert [call.number for call in await pending(store)] == numbers

    async def test_any_version_without_effects_is_refused(self) -> None:
        async with self.opened() as store:
            none = CommitRecord(SENDER, ANY_VERSION, ANY_VERSION, None, 1, 0)
            outcomes = await store.commit([none, replace(none, version=0), replace(none, version=1, state=b"{}")])

            assert all(isinstance(outcome, Conflict) for outcome in outcomes)
            assert await load(store, SENDER) is None

    async def test_a_removed_call_is_gone_and_the_others_stay(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [sends(*(sent(f"c_{at}") for at in range(5)))])
            calls = await pending(store)
            await seqs_of(store, [effects(removes=(calls[0].number, calls[3].number))])
            assert await pending(store) == [calls[1], calls[2], calls[4]]
            assert await pending(store, after=calls[1].number, limit=1) == [calls[2]]
            later = await self.restart(store)
            try:
                assert await pending(later) == [calls[1], calls[2], calls[4]]
                await seqs_of(later, [effects(removes=tuple(call.number for call in calls))])
                assert await pending(later) == []
            finally:
                await later.close()

    async def test_a_call_is_only_removed_and_marked_by_its_sender(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [sends(sent())])
            before = await pending(store)
            (number,) = (call.number for call in before)
            await seqs_of(store, [effects(RECEIVER, removes=(number,), marks=(Mark(number, 3, "cancelled"),))])

            assert await pending(store) == before

    async def test_unknown_numbers_are_ignored(self) -> None:
        async with self.opened() as store:
            unknown = (1, number_of(1 << 40, 0))
            marks = tuple(Mark(number, 1) for number in unknown)
            (seq,) = await seqs_of(store, [effects(sends=(sent(),), removes=unknown, marks=marks)])

            assert [(call.number, call.attempts) for call in await pending(store)] == [(number_of(seq, 0), 0)]

    async def test_the_latest_mark_of_a_call_counts(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [sends(sent("c_1"), sent("c_2"))])
            first, second = await pending(store)
            await seqs_of(store, [effects(marks=(Mark(first.number, 2), Mark(second.number, 1, "expired")))])
            await seqs_of(store, [effects(marks=(Mark(first.number, 3, "cancelled"),))])
            marked = [first._replace(attempts=3, void="cancelled"), second._replace(attempts=1, void="expired")]
            assert await pending(store) == marked
            later = await self.restart(store)
            try:
                assert await pending(later) == marked
            finally:
                await later.close()

    async def test_an_outbox_and_receipts_outlive_the_deletion_of_the_objects(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(SENDER, 0), put(RECEIVER, 0), sends(sent("c_1"))])
            (call,) = await pending(store)
            await seqs_of(store, [settles(call.number), delete(SENDER, 1), delete(RECEIVER, 1)])
            for again in (False, True):
                if again:
                    await seqs_of(store, [put(SENDER, 2), put(RECEIVER, 2)])
                assert await pending(store) == [call]
                assert (await receipt(store)).outcomes == {call.number: b"done"}
                (repeated,) = await store.commit([settles(call.number)])
                assert isinstance(repeated, Conflict)
            await seqs_of(store, [effects(removes=(call.number,))])
            assert await pending(store) == []


class FencedOutboxStore(Store, Authority, Outbox, Protocol):
    """A store that keeps outboxes and is the authority over shards."""


class FencedOutboxContract:
    """The tests of effects under an epoch; subclasses implement ``make_authority``."""

    def make_authority(self) -> FencedOutboxStore:
        """Return a store that is not open yet, without data."""
        raise NotImplementedError

    async def test_a_record_that_only_has_effects_is_no_mere_check_of_its_epoch(self) -> None:
        store = self.make_authority()
        await store.open()
        epoch = (await store.claim([SHARD], "a"))[SHARD]
        batch = [sends(sent("c_1")), replace(sends(sent("c_2")), expected=0, version=0), settles(9)]
        outcomes = await store.commit([replace(record, shard=SHARD, epoch=epoch) for record in batch])
        assert [isinstance(outcome, int) for outcome in outcomes] == [True, True, True], outcomes
        assert len(set(outcomes)) == 3
        assert [call.call.id for call in await pending(store)] == ["c_1", "c_2"]
        assert (await receipt(store)).last == 9
        await store.close()

    async def test_a_fenced_record_has_no_effects(self) -> None:
        store = self.make_authority()
        await store.open()
        old = (await store.claim([SHARD], "a"))[SHARD]
        await seqs_of(store, [replace(sends(sent("c_1")), epoch=old)])
        before = await pending(store)
        new = (await store.claim([SHARD], "a"))[SHARD]  # a database also compares the owner, which a store has one of
        everything = effects(
            sends=(sent("c_2"),),
            settles=settlement(9),
            removes=(before[0].number,),
            marks=(Mark(before[0].number, 5),),
            finished=(ended(),),
        )
        fenced, good = await store.commit(
            [replace(everything, epoch=old), replace(settles(1, outcome=b"new"), shard=SHARD, epoch=new)]
        )
        assert isinstance(fenced, Conflict)
        assert fenced.fenced
        assert isinstance(good, int)
        assert await pending(store) == before
        assert (await receipt(store, SENDER, SENDER)).last == 0
        assert await store.finished(CallFilter(), limit=9) == []
        await store.close()
