"""SortedIds behaves like a sorted set under any sequence of additions and removals."""

from hypothesis import given
from hypothesis import strategies as st

from goverse_node.stores.sorted_ids import CHUNK, SortedIds

IDS = st.text(alphabet="ab\x00é\U0001f600", max_size=4)


@given(st.lists(st.tuples(st.booleans(), IDS)), IDS, st.none() | IDS, st.integers(0, 6))
def test_a_page_equals_a_slice_of_the_sorted_ids(
    steps: list[tuple[bool, str]], prefix: str, after: str | None, limit: int
) -> None:
    ids, model = SortedIds(), set[str]()
    for adds, value in steps:
        if adds and value not in model:
            ids.add(value)
            model.add(value)
        elif not adds and value in model:
            ids.remove(value)
            model.remove(value)

    expected = sorted(one for one in model if one.startswith(prefix) and (after is None or one > after))
    assert ids.page(prefix=prefix, after=after, limit=limit) == expected[:limit]
    assert len(ids) == len(model)
    assert SortedIds(model).page(prefix="", after=None, limit=10**6) == sorted(model, key=str.encode)


def test_ids_stay_sorted_across_chunks_in_any_order_of_insertion() -> None:
    count = 5 * CHUNK
    for order in (range(count), range(count - 1, -1, -1), ((n * 7919) % count for n in range(count))):
        ids = SortedIds()
        for n in order:
            ids.add(f"{n:08d}")
        everything = [f"{n:08d}" for n in range(count)]
        assert ids.page(prefix="", after=None, limit=count + 1) == everything
        assert ids.page(prefix="", after=everything[CHUNK - 1], limit=2) == everything[CHUNK : CHUNK + 2]
        for value in everything[::2]:
            ids.remove(value)
        assert ids.page(prefix="", after=None, limit=count) == everything[1::2]
        for value in everything[1::2]:
            ids.remove(value)
        assert len(ids) == 0
        assert ids.page(prefix="", after=None, limit=1) == []
