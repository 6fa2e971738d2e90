"""Each shard has a best-ranked node, which changes only when it must."""

from collections import Counter

import pytest

from goverse_node.ownership.rendezvous import WINDOW, Ring, node_hash, score, shard_hash

pytestmark = pytest.mark.requirement("CLU-4")


def favourites(names: list[str], shards: int = 2_000) -> list[str | None]:
    ring = Ring(dict.fromkeys(names, 1.0))
    return [ring.best(shard) for shard in range(shards)]


@pytest.mark.parametrize("count", [5, 4 * WINDOW])
def test_a_node_that_leaves_changes_only_shards_that_it_won_or_whose_window_it_was_in(count: int) -> None:
    names = [f"n{number}" for number in range(count)]
    before, after = favourites(names), favourites(names[1:])
    changed = [old for old, new in zip(before, after, strict=True) if old != new]

    assert changed.count("n0") == before.count("n0") > 0
    assert len(changed) <= 2_000 * 3 / min(count, WINDOW)
    if count <= WINDOW:
        assert set(changed) == {"n0"}


def test_a_heavier_node_is_the_favourite_of_more_shards() -> None:
    ring = Ring({"light": 1.0, "heavy": 3.0})
    counts = Counter(ring.best(shard) for shard in range(4_000))

    assert 0.70 < counts["heavy"] / 4_000 < 0.80


def test_the_favourite_is_the_best_score() -> None:
    names = ["a", "b", "c", "d"]
    ring = Ring(dict.fromkeys(names, 1.0))
    for shard in range(200):
        best = min(names, key=lambda name: score(node_hash(name), shard_hash(shard), 1.0))
        assert ring.best(shard) == best
        assert ring.best(shard, {best}) != best


def test_nodes_come_and_go_any_number_of_times() -> None:
    ring = Ring({"a": 1.0})
    ring.remove("b", 1.0)
    ring.remove("a", 1.0)
    ring.remove("a", 1.0)
    assert ring.best(1) is None
    ring.add("a", 1.0)
    ring.add("a", 1.0)
    assert ring.best(1) == "a"
    ring.remove("a", 1.0)
    assert ring.best(1) is None
    assert Ring({"a": 1.0}).best(1, {"a"}) is None
