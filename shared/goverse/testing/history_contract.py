"""The tests of the rules in ``goverse.ports.history``, as a part of the store contract."""

from __future__ import annotations

from goverse.model.cause import Cause, decode_cause, encode_call, encode_cause
from goverse.model.keys import ObjectKey
from goverse.model.records import ANCHOR_EVERY, Change, CommitRecord
from goverse.ports.store import Conflict
from goverse.testing.store_harness import (
    KEY,
    NOW_MS,
    OTHER,
    CompleteStore,
    StoreHarness,
    delete,
    keep,
    load,
    put,
    seqs_of,
)


class HistoryContract(StoreHarness):
    """The tests that every store passes for the history of objects."""

    async def test_the_history_of_an_object_is_walked_back_to_its_first_change(self) -> None:
        async with self.opened() as store:
            for version in range(6):
                await seqs_of(store, [put(KEY, version, b"%d" % version), put(OTHER, version)])
            walked = await _walk(store, KEY)

            assert [change.version for change in walked] == [6, 5, 4, 3, 2, 1]
            assert [change.state for change in walked] == [b"5", b"4", b"3", b"2", b"1", b"0"]
            assert {change.key for change in walked} == {KEY}
            assert walked[-1].previous_seq == 0

    async def test_changes_of_one_batch_are_linked_in_order(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY, 0)])
            await seqs_of(store, [put(KEY, 1), put(OTHER, 0), put(KEY, 2), put(OTHER, 1), put(KEY, 3)])
            # a batch with a conflict may take another code path in the store
            outcomes = await store.commit([put(KEY, 4), put(OTHER, 9), put(KEY, 5), put(OTHER, 2)])

            assert [isinstance(outcome, Conflict) for outcome in outcomes] == [False, True, False, False]
            assert [change.version for change in await _walk(store, KEY)] == [6, 5, 4, 3, 2, 1]
            assert [change.version for change in await _walk(store, OTHER)] == [3, 2, 1]

    async def test_a_reply_without_a_change_is_no_part_of_the_history(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY, 0)])
            (kept,) = await seqs_of(store, [keep(KEY, 1, "k", self.reply())])
            await seqs_of(store, [put(KEY, 1)])

            assert [change.version for change in await _walk(store, KEY)] == [2, 1]
            assert await store.change(KEY, kept) is None

    async def test_a_position_belongs_to_one_object(self) -> None:
        async with self.opened() as store:
            first, second = await seqs_of(store, [put(KEY, 0), put(OTHER, 0)])

            assert await store.change(KEY, second) is None
            assert await store.change(OTHER, first) is None
            assert await store.change(KEY, second + 1_000) is None
            assert await store.change(KEY, 0) is None

    async def test_anchors_lead_64_versions_back(self) -> None:
        async with self.opened() as store:
            seqs: list[int] = []
            for _ in range(5):  # batches of 1, 2, 3 and so on: anchors lie at all places of a batch
                for size in range(1, 10):
                    batch = [put(KEY, len(seqs) + n) for n in range(size)]
                    seqs += await seqs_of(store, batch)
            changes = [change for seq in seqs if (change := await store.change(KEY, seq)) is not None]

            assert changes[-1].version == len(seqs)
            for change in changes:
                anchor = (change.version - 1) // ANCHOR_EVERY * ANCHOR_EVERY
                assert change.anchor_seq == (seqs[anchor - 1] if anchor else 0), change.version
                assert change.previous_seq == (seqs[change.version - 2] if change.version > 1 else 0), change.version

    async def test_links_go_on_after_a_restart(self) -> None:
        async with self.opened() as store:
            seqs = [seq for version in range(70) for seq in await seqs_of(store, [put(KEY, version)])]
            later = await self.restart(store)
            try:
                (last,) = await seqs_of(later, [put(KEY, 70)])
                newest = await later.change(KEY, last)
                assert newest is not None
                assert (newest.previous_seq, newest.anchor_seq) == (seqs[-1], seqs[63])
            finally:
                await later.close()

    async def test_an_object_that_is_created_again_has_a_higher_generation(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY, 0), put(KEY, 1), delete(KEY, 2)])
            await seqs_of(store, [put(KEY, 3)])
            await seqs_of(store, [put(KEY, 4), delete(KEY, 5), put(KEY, 6)])
            walked = [(change.version, change.generation) for change in await _walk(store, KEY)]

            assert walked == [(7, 7), (6, 4), (5, 4), (4, 4), (3, 1), (2, 1), (1, 1)]
            later = await self.restart(store)
            try:
                (last,) = await seqs_of(later, [put(KEY, 7)])
                newest = await later.change(KEY, last)
                assert newest is not None
                assert newest.generation == 7
            finally:
                await later.close()

    async def test_a_change_names_the_call_that_made_it(self) -> None:
        async with self.opened() as store:
            trace = "4bf92f3577b34da6a3ce929d0e0e4736"
            whole = Cause("pay", "alice", "r-2", trace, b'{"cents":5}', NOW_MS)
            stored = [
                encode_call("open", "", "r-1", f"00-{trace}-00f067aa0ba902b7-01"),
                encode_cause(whole),
                None,
                encode_call("", "b\ud800b", "r-3", ""),
            ]
            await seqs_of(store, [_caused(KEY, 0, stored[0]), _caused(KEY, 1, stored[1])])
            stale, *_ = await store.commit([put(OTHER, 5), _caused(KEY, 2, stored[2]), _caused(KEY, 3, stored[3])])
            walked = await _walk(store, KEY)

            assert isinstance(stale, Conflict)
            causes = [Cause("", "b?b", "r-3"), None, whole, Cause("open", "", "r-1", trace)]
            assert [change.cause for change in walked] == causes
            assert list(reversed(walked)) == [change for change in await store.changes(0, 10) if change.key == KEY]


def _caused(key: ObjectKey, expected: int, cause: bytes | None) -> CommitRecord:
    if cause is not None:
        decode_cause(cause)
    return CommitRecord(key, expected, expected + 1, b"{}", 1, NOW_MS, cause=cause)


async def _walk(store: CompleteStore, key: ObjectKey) -> list[Change]:
    """Return the changes of an object, newest first, found by their links."""
    present = await load(store, key)
    assert present is not None
    found: list[Change] = []
    seq = present.commit_seq
    while seq:
        change = await store.change(key, seq)
        assert change is not None, f"no change at {seq}, version {found[-1].version if found else 'newest'}"
        assert not found or change.version == found[-1].version - 1
        found.append(change)
        seq = change.previous_seq
    return found
