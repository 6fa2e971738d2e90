"""The rules of ``goverse.ports.store`` as tests that every store passes.

Subclass :class:`StoreContract` in a test file, say how a store is made and restarted, and let an
asyncio-aware test runner collect it:

>>> class TestMyStore(StoreContract):
...     def make_store(self) -> Store:
...         return MyStore(clock=self.clock)

The suite needs no test framework of its own: it asserts, and it moves :attr:`StoreContract.clock` by hand.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from goverse.errors import CursorExpired, StoreError
from goverse.model.keys import ObjectKey
from goverse.model.records import Change, CommitRecord, StoredObject, StoredReply
from goverse.ports.clock import ManualClock
from goverse.ports.store import Conflict, Store

KEY = ObjectKey("default", "Counter", "c1")
OTHER = ObjectKey("default", "Counter", "c2")
NOW_MS = ManualClock().wall_ms()


def put(key: ObjectKey, expected: int, state: bytes = b"{}", *, at_ms: int = NOW_MS) -> CommitRecord:
    """Return a record that writes ``state`` over version ``expected``."""
    return CommitRecord(key, expected, expected + 1, state, 1, at_ms)


def delete(key: ObjectKey, expected: int, *, at_ms: int = NOW_MS) -> CommitRecord:
    """Return a record that deletes the object at version ``expected``."""
    return CommitRecord(key, expected, expected + 1, None, 1, at_ms)


def keep(
    key: ObjectKey, expected: int, idempotency_key: str, reply: StoredReply, *, changes: bool = False
) -> CommitRecord:
    """Return a record that keeps a reply, with or without a new state."""
    version = expected + 1 if changes else expected
    return CommitRecord(key, expected, version, b'{"kept":true}', 1, NOW_MS, idempotency_key, reply)


async def load(store: Store, key: ObjectKey) -> StoredObject | None:
    """Load, whether the store answers at once or later."""
    answer = store.load(key)
    return await answer if isinstance(answer, Future) else answer


async def recall(store: Store, key: ObjectKey, idempotency_key: str) -> StoredReply | None:
    """Recall, whether the store answers at once or later."""
    answer = store.recall(key, idempotency_key)
    return await answer if isinstance(answer, Future) else answer


async def seqs_of(store: Store, batch: Sequence[CommitRecord]) -> list[int]:
    """Commit a batch in which nothing conflicts; return the positions."""
    outcomes = await store.commit(batch)
    assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, int)]


class StoreContract:
    """What every store does; subclasses say how one is made."""

    clock: ManualClock

    def make_store(self) -> Store:
        """Return a store that is not open yet, with ``self.clock`` and a place of its own."""
        raise NotImplementedError

    async def restart(self, store: Store) -> Store:
        """Return the store as the next process finds it; by default, the same one closed and opened again."""
        await store.close()
        await store.open()
        return store

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Store, None]:
        """Give an open store, and close it."""
        self.clock = ManualClock()
        store = self.make_store()
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    def reply(self, body: bytes = b"2", *, lives_s: float = 60.0) -> StoredReply:
        """Return a reply that expires ``lives_s`` from now."""
        return StoredReply(b"fingerprint", body, self.clock.wall_ms() + round(lives_s * 1000))

    async def test_an_object_that_never_existed_is_none(self) -> None:
        async with self.opened() as store:
            assert await load(store, KEY) is None
            assert await recall(store, KEY, "k") is None

    async def test_a_commit_is_read_back_as_written(self) -> None:
        async with self.opened() as store:
            record = CommitRecord(KEY, 0, 1, '{"name":"Zoë"}'.encode(), 7, 1234)
            (seq,) = await seqs_of(store, [record])

            assert await load(store, KEY) == StoredObject(1, '{"name":"Zoë"}'.encode(), 7, seq, 1234)

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

    async def test_an_empty_batch_is_nothing(self) -> None:
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

    async def test_everything_acknowledged_is_there_after_a_restart(self) -> None:
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
            before = [await load(store, KEY), await load(store, OTHER), await recall(store, KEY, "k")]
            again = await self.restart(store)
            try:
                assert [
                    await load(again, KEY),
                    await load(again, OTHER),
                    await recall(again, KEY, "k"),
                ] == before
                assert again.health().commit_seq == seqs[-1]
                assert (await seqs_of(again, [put(KEY, 2)]))[0] > seqs[-1]
            finally:
                await again.close()

    async def test_a_listing_is_in_order_of_the_ids_bytes_and_leaves_out_the_dead(self) -> None:
        async with self.opened() as store:
            ids = ["b", "a/2", "a", "ä", "B", "\U0001f600", "�", "a/1"]
            await seqs_of(store, [put(KEY._replace(id=one), 0) for one in ids])
            await seqs_of(store, [delete(KEY._replace(id="b"), 1)])
            await seqs_of(store, [put(KEY._replace(type="Elsewhere"), 0), put(KEY._replace(namespace="n"), 0)])

            listed = await store.list("default", "Counter", prefix="", after=None, limit=100)
            assert [one.id for one in listed] == sorted(set(ids) - {"b"}, key=str.encode)
            assert {one.version for one in listed} == {1}

    async def test_a_listing_is_read_page_by_page_within_a_prefix(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY._replace(id=f"x{n:03d}"), 0) for n in range(50)])
            await seqs_of(store, [put(KEY._replace(id=f"y{n:03d}"), 0) for n in range(50)])

            seen: list[str] = []
            after: str | None = None
            while page := await store.list("default", "Counter", prefix="x", after=after, limit=7):
                assert len(page) <= 7
                seen += [one.id for one in page]
                after = seen[-1]
            assert seen == [f"x{n:03d}" for n in range(50)]
            rest = await store.list("default", "Counter", prefix="y", after="x049", limit=3)
            assert [one.id for one in rest] == ["y000", "y001", "y002"]
            assert await store.list("default", "Nothing", prefix="", after=None, limit=3) == []

    async def test_the_feed_has_every_change_once_and_in_order(self) -> None:
        async with self.opened() as store:
            seqs: list[int] = []
            for n in range(20):
                seqs += await seqs_of(
                    store, [put(KEY, n, b"%d" % n, at_ms=NOW_MS + n), keep(OTHER, 0, f"k{n}", self.reply())]
                )
            last = await seqs_of(store, [delete(KEY, 20, at_ms=NOW_MS + 99)])
            seen: list[Change] = []
            after = 0
            while changes := await store.changes(after, 3):
                assert len(changes) <= 3
                seen += changes
                after = seen[-1].commit_seq
            assert [change.commit_seq for change in seen] == [*seqs[::2], *last]
            assert seen[3] == Change(seqs[6], KEY, 4, b"3", NOW_MS + 3)
            assert seen[-1] == Change(last[0], KEY, 21, None, NOW_MS + 99)
            assert list(await store.changes(last[0], 10)) == []

    async def test_the_feed_never_skips_what_it_no_longer_has(self) -> None:
        async with self.opened() as store:
            seqs = [seq for n in range(30) for seq in await seqs_of(store, [put(KEY, n)])]
            try:
                changes = await store.changes(0, 1000)
            except CursorExpired as expired:
                oldest = int(expired.extra["oldest"])
                changes = await store.changes(oldest, 1000)
                assert [change.commit_seq for change in changes] == [seq for seq in seqs if seq > oldest]
            else:
                assert [change.commit_seq for change in changes] == seqs

    async def test_a_closed_store_takes_nothing_and_says_so(self) -> None:
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
