"""The tests of the rules in ``goverse.ports.census``, as a part of the store contract."""

from __future__ import annotations

from goverse.model.keys import ObjectKey, placement_hash
from goverse.model.records import ObjectPlace
from goverse.ports.store import Conflict
from goverse.testing.store_harness import KEY, OTHER, CompleteStore, StoreHarness, delete, keep, put, seqs_of

_HASH_MAX = 2**64 - 1


class CensusContract(StoreHarness):
    """The tests that every store passes for counts and hashes."""

    async def test_objects_are_counted_by_namespace_and_type(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY, 0), put(OTHER, 0), put(KEY._replace(type="Elsewhere"), 0)])
            await seqs_of(store, [put(KEY._replace(namespace="n"), 0), put(KEY, 1), keep(OTHER, 1, "k", self.reply())])

            expected = {("default", "Counter"): 2, ("default", "Elsewhere"): 1, ("n", "Counter"): 1}
            assert await _living(store) == expected
            later = await self.restart(store)
            try:
                assert await _living(later) == expected
            finally:
                await later.close()

    async def test_deleted_objects_do_not_count_until_they_are_created_again(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY, 0), put(OTHER, 0)])
            await seqs_of(store, [delete(KEY, 1), delete(OTHER, 1)])
            assert await _living(store) == {}
            await seqs_of(store, [delete(KEY, 2), put(OTHER, 2)])
            assert await _living(store) == {("default", "Counter"): 1}
            await seqs_of(store, [put(KEY, 3), delete(KEY, 4), put(KEY, 5), put(OTHER, 3), delete(OTHER, 4)])
            assert await _living(store) == {("default", "Counter"): 1}

    async def test_a_refused_record_is_not_counted(self) -> None:
        async with self.opened() as store:
            await seqs_of(store, [put(KEY, 0)])
            outcomes = await store.commit([put(KEY, 0), delete(OTHER, 9), put(OTHER, 0), delete(KEY, 1)])

            assert [isinstance(outcome, Conflict) for outcome in outcomes] == [True, True, False, False]
            assert await _living(store) == {("default", "Counter"): 1}

    async def test_objects_are_found_by_ranges_of_their_hash(self) -> None:
        async with self.opened() as store:
            keys = [ObjectKey(namespace, "Counter", f"c{n}") for n in range(20) for namespace in ("default", "n")]
            await seqs_of(store, [put(key, 0) for key in keys])
            await seqs_of(store, [delete(keys[7], 1), put(keys[8], 1)])
            places = sorted(ObjectPlace(placement_hash(key), key) for key in keys if key != keys[7])

            assert await _within(store, 0, _HASH_MAX, limit=100) == places
            assert await _within(store, 0, _HASH_MAX, limit=3) == places
            middle = places[10].hash
            assert await _within(store, 0, middle - 1, limit=100) == places[:10]
            assert await _within(store, middle, _HASH_MAX, limit=100) == places[10:]
            assert await _within(store, middle, middle, limit=100) == [places[10]]


async def _living(store: CompleteStore) -> dict[tuple[str, str], int]:
    return {name: count for name, count in (await store.living()).items() if count}


async def _within(store: CompleteStore, first: int, last: int, *, limit: int) -> list[ObjectPlace]:
    found: list[ObjectPlace] = []
    while page := await store.within(first, last, after=found[-1] if found else None, limit=limit):
        assert len(page) <= limit
        found += page
    return found
