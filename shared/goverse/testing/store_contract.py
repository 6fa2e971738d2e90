"""Tests of the rules in ``goverse.ports.store``, for any implementation of a store.

A store also implements ``goverse.ports.history`` and ``goverse.ports.census``, whose rules are tested with it.

Subclass :class:`StoreContract` in a test file and implement ``make_store``; override ``restart`` if a restart needs
more than closing and opening the store:

>>> class TestMyStore(StoreContract):
...     def make_store(self) -> CompleteStore:
...         return MyStore(clock=self.clock)

The suite uses plain assertions, advances :attr:`StoreContract.clock` itself, and works with any test runner that
supports asyncio.
"""

from __future__ import annotations

from goverse.errors import StoreError
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredObject
from goverse.ports.store import Conflict
from goverse.testing.census_contract import CensusContract
from goverse.testing.history_contract import HistoryContract
from goverse.testing.store_harness import KEY, NOW_MS, OTHER, delete, keep, load, put, recall, seqs_of
from goverse.testing.store_reading import ReadingContract


class StoreContract(ReadingContract, HistoryContract, CensusContract):
    """The tests that every store passes; subclasses implement ``make_store``."""

    async def test_an_object_that_never_existed_is_none(self) -> None:
        async with self.opened() as store:
            assert await load(store, KEY) is None
            assert await recall(store, KEY, "k") is None

    async def test_a_commit_is_read_back_as_written(self) -> None:
        async with self.opened() as store:
            record = CommitRecord(KEY, 0, 1, '{"name":"Zoë"}'.encode(), 7, 1234)
            (seq,) = await seqs_of(store, [record])

            assert await load(store, KEY) == StoredObject(1, '{"name":"Zoë"}'.encode(), 7, seq, 1234)

    async def test_the_digest_of_the_creation_arguments_is_kept_over_changes_and_a_restart(self) -> None:
        async with self.opened() as store:
            digests: list[tuple[ObjectKey, bytes | None]] = [
                (KEY, bytes(range(16))),
                (OTHER, b""),
                (ObjectKey("default", "Counter", "c3"), None),
            ]
            await seqs_of(store, [CommitRecord(key, 0, 1, b"{}", 1, NOW_MS, creation=each) for key, each in digests])
            await seqs_of(store, [CommitRecord(key, 1, 2, b"[1]", 1, NOW_MS, creation=each) for key, each in digests])
            later = await self.restart(store)
            try:
                for key, each in digests:
                    found = await load(later, key)
                    assert found is not None
                    assert (found.version, found.state, found.creation) == (2, b"[1]", each)
            finally:
                await later.close()

    async def test_a_new_object_under_an_old_id_has_a_digest_of_its_own(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [CommitRecord(KEY, 0, 1, b"{}", 1, NOW_MS, creation=bytes(range(16)))])
            await seqs_of(store, [delete(KEY, 1)])
            # a batch with a conflict may take another code path in the store
            stale, good = await store.commit([put(OTHER, 9), CommitRecord(KEY, 2, 3, b"{}", 1, NOW_MS, creation=b"")])
            found = await load(store, KEY)

            assert isinstance(stale, Conflict)
            assert isinstance(good, int)
            assert found is not None
            assert (found.version, found.creation) == (3, b"")

    async def test_positions_grow_with_every_record(self) -> None:
        async with self.opened() as store:
            first = await seqs_of(store, [put(KEY, 0), put(OTHER, 0)])
            second = await seqs_of(store, [put(KEY, 1)])

            assert first[0] < first[1] < second[0]
            assert store.health().commit_seq == second[0]

    async def test_a_stale_record_fails_alone(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY, 0, b"1")])
            stale, good = await store.commit([put(KEY, 0, b"2"), put(OTHER, 0, b"3")])

            assert isinstance(stale, Conflict)
            assert isinstance(good, int)
            found = await load(store, KEY)
            assert found is not None
            assert found.state == b"1"

    async def test_an_object_that_exists_cannot_be_created_again(self) -> None:
        async with self.opened() as store:
            outcomes = await store.commit([put(KEY, 0, b"1"), put(KEY, 0, b"2")])

            assert isinstance(outcomes[0], int)
            assert isinstance(outcomes[1], Conflict)

    async def test_a_version_must_grow_by_one(self) -> None:
        async with self.opened() as store:
            (outcome,) = await store.commit([CommitRecord(KEY, 0, 2, b"{}", 1, 0)])

            assert isinstance(outcome, Conflict)
            assert await load(store, KEY) is None

    async def test_a_batch_builds_on_itself(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY, 0, b"1"), put(KEY, 1, b"2"), delete(KEY, 2), put(KEY, 3, b"4")])

            found = await load(store, KEY)
            assert found is not None
            assert (found.version, found.state) == (4, b"4")

    async def test_records_behind_a_failed_one_of_the_same_object_fail(self) -> None:
        async with self.opened() as store:
            outcomes = await store.commit([put(KEY, 5), put(KEY, 6), put(OTHER, 0)])

            assert [isinstance(outcome, int) for outcome in outcomes] == [False, False, True]

    async def test_an_empty_batch_changes_nothing(self) -> None:
        async with self.opened() as store:
            before = store.health().commit_seq

            assert list(await store.commit([])) == []
            assert store.health().commit_seq == before

    async def test_a_deleted_object_leaves_a_tombstone_with_its_version(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY, 0), delete(KEY, 1)])

            found = await load(store, KEY)
            assert found is not None
            assert (found.version, found.state) == (2, None)
            assert isinstance((await store.commit([put(KEY, 0)]))[0], Conflict)
            await seqs_of(store, [put(KEY, 2, b"again")])
            found = await load(store, KEY)
            assert found is not None
            assert found.version == 3

    async def test_a_reply_is_kept_byte_for_byte_under_its_object_and_key(self) -> None:
        async with self.opened() as store:
            reply = self.reply(b"\x00\xff answer")
            (seq,) = await seqs_of(store, [keep(KEY, 0, "k", reply, changes=True)])

            assert await recall(store, KEY, "k") == reply._replace(commit_seq=seq)
            assert await recall(store, OTHER, "k") is None
            assert await recall(store, KEY, "other") is None

    async def test_a_reply_is_kept_without_a_new_state(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [keep(KEY, 0, "k", self.reply())])

            assert await recall(store, KEY, "k") is not None
            assert await load(store, KEY) is None

    async def test_names_are_never_mixed_up(self) -> None:
        async with self.opened() as store:
            pairs = [("1:a", "b"), ("1:", "ab"), ("a", "b1:"), ("ab", ""), ("a\x00", "b"), ("a", "\x00b")]
            for key, object_id in pairs:
                name = KEY._replace(id=object_id or "-")
                await seqs_of(store, [keep(name, 0, key, self.reply(f"{key}|{object_id}".encode()))])
            for key, object_id in pairs:
                kept = await recall(store, KEY._replace(id=object_id or "-"), key)
                assert kept is not None
                assert kept.reply == f"{key}|{object_id}".encode()

    async def test_a_second_reply_under_a_key_is_refused_with_its_effect(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [keep(KEY, 0, "k", self.reply(b"first"), changes=True)])
            outcomes = await store.commit(
                [
                    keep(KEY, 1, "k", self.reply(b"second"), changes=True),
                    keep(OTHER, 0, "same", self.reply()),
                    keep(OTHER, 0, "same", self.reply()),
                ]
            )

            assert [isinstance(outcome, int) for outcome in outcomes] == [False, True, False]
            found, kept = await load(store, KEY), await recall(store, KEY, "k")
            assert found is not None
            assert kept is not None
            assert (found.version, kept.reply) == (1, b"first")

    async def test_an_expired_reply_is_gone_and_its_key_free(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [keep(KEY, 0, "k", self.reply(b"old", lives_s=10))])
            self.clock.advance(9.999)
            assert await recall(store, KEY, "k") is not None
            self.clock.advance(0.001)
            assert await recall(store, KEY, "k") is None
            await seqs_of(store, [keep(KEY, 0, "k", self.reply(b"new"))])
            kept = await recall(store, KEY, "k")
            assert kept is not None
            assert kept.reply == b"new"

    async def test_everything_acknowledged_survives_a_restart(self) -> None:
        async with self.opened() as store:
            seqs = await seqs_of(
                store,
                [
                    put(KEY, 0, b"1"),
                    keep(KEY, 1, "k", self.reply(), changes=True),
                    put(OTHER, 0),
                    delete(OTHER, 1),
                ],
            )
            before = [await load(store, KEY), await load(store, OTHER)]
            kept = await recall(store, KEY, "k")
            again = await self.restart(store)
            try:
                assert [await load(again, KEY), await load(again, OTHER)] == before
                found = await recall(again, KEY, "k")
                assert kept is not None
                assert found is not None
                # a store with its own clock converts the expiry again
                assert abs(found.expires_ms - kept.expires_ms) < self.reply().expires_ms - self.clock.wall_ms()
                assert found._replace(expires_ms=kept.expires_ms) == kept
                assert again.health().commit_seq == seqs[-1]
                assert (await seqs_of(again, [put(KEY, 2)]))[0] > seqs[-1]
            finally:
                await again.close()

    async def test_a_closed_store_refuses_commits_and_is_not_ready(self) -> None:
        async with self.opened() as store:
            assert store.health().ready
            await store.close()
            await store.close()

            assert not store.health().ready
            assert store.health().reason
            try:
                await store.commit([put(KEY, 0)])
            except StoreError:
                return
            raise AssertionError("a closed store took a commit")
