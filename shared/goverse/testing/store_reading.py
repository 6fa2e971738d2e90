"""The tests of the store contract for listings and the change feed."""

from __future__ import annotations

from goverse.errors import CursorExpired
from goverse.model.records import Change, ChangeFilter, CommitRecord
from goverse.testing.store_harness import KEY, NOW_MS, OTHER, StoreHarness, delete, keep, put, seqs_of


class ReadingContract(StoreHarness):
    """The tests that every store passes for listings and the change feed."""

    async def test_a_listing_is_ordered_by_the_bytes_of_ids_and_omits_deleted_objects(self) -> None:
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
            assert seen[3] == Change(seqs[6], KEY, 4, b"3", NOW_MS + 3, 1, 1, seqs[4])
            assert seen[-1] == Change(last[0], KEY, 21, None, NOW_MS + 99, 1, 1, seqs[38])
            assert list(await store.changes(last[0], 10)) == []

    async def test_the_feed_is_read_for_some_objects(self) -> None:
        async with self.opened() as store:
            keys = [
                KEY,
                OTHER,
                KEY._replace(namespace="n"),
                KEY._replace(type="Elsewhere"),
                OTHER._replace(namespace="n", type="Elsewhere"),
            ]
            wanted = [
                ChangeFilter(),
                ChangeFilter(namespace="n"),
                ChangeFilter(types=frozenset({"Counter"})),
                ChangeFilter(types=frozenset({"Counter", "Elsewhere"}), ids=frozenset({"c2"})),
                ChangeFilter("n", frozenset({"Elsewhere"}), frozenset({"c2", "c3"})),
                ChangeFilter(ids=frozenset()),
                ChangeFilter(namespace="none"),
            ]
            for version in range(5):
                await seqs_of(store, [put(key, version) for key in keys])
            whole = await store.changes(0, 1_000)
            assert len(whole) == 25
            for where in wanted:
                seen: list[Change] = []
                while changes := await store.changes(seen[-1].commit_seq if seen else 0, 3, where=where):
                    seen += changes
                    if len(changes) < 3:
                        break
                assert seen == [change for change in whole if where.selects(change.key)]

    async def test_a_change_has_the_state_version_of_its_writer(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [CommitRecord(KEY, 0, 1, b"{}", 7, NOW_MS), CommitRecord(KEY, 1, 2, b"{}", 9, NOW_MS)])

            assert [change.state_version for change in await store.changes(0, 10)] == [7, 9]

    async def test_the_feed_reports_trimmed_changes_instead_of_skipping_them(self) -> None:
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
