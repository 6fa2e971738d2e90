"""The capacity calculator: sizes grow with the load and in proportion, and invalid input is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.operate.__main__ import main
from scripts.operate.size import human, quantity
from scripts.operate.sizing import BENCHMARKS, GIB, MIB, Nonsense, Size, Wish, line, measured, size

pytestmark = pytest.mark.requirement("OPS-9")

FIGURES = measured()
WISHES = st.builds(
    Wish,
    objects=st.integers(1, 10_000_000),
    state_bytes=st.integers(0, 16_384),
    writes=st.floats(0, 20_000),
    reads=st.floats(0, 50_000),
    keyed=st.floats(0, 1),
    node_memory=st.integers(512 * MIB, 64 * GIB),
    utilisation=st.floats(0.1, 0.9),
    spare=st.integers(0, 3),
)
COUNTS = [name for name in asdict(size(Wish(), FIGURES)) if name != "limits"]
# These are per node, so they shrink when the calls need more nodes.
PER_NODE = {"node_memory_used", "activations_bytes_max", "activations_max"}


def counts(made: Size) -> dict[str, float]:
    return {name: getattr(made, name) for name in COUNTS}


@given(WISHES, st.sampled_from(["objects", "writes", "reads", "state_bytes", "spare"]), st.integers(1, 5))
def test_a_larger_wish_never_gives_a_smaller_size(wish: Wish, what: str, factor: int) -> None:
    more = replace(wish, **{what: getattr(wish, what) * factor})
    before, after = counts(size(wish, FIGURES)), counts(size(more, FIGURES))

    assert {name for name in before if after[name] < before[name]} <= PER_NODE


@given(WISHES, st.integers(2, 8))
def test_disk_grows_in_proportion(wish: Wish, factor: int) -> None:
    once = size(wish, FIGURES)
    more = size(replace(wish, writes=wish.writes * factor, objects=wish.objects * factor), FIGURES)

    for name in ("disk_objects", "disk_changes_per_day", "disk_kept", "log_per_day"):
        assert getattr(more, name) == pytest.approx(getattr(once, name) * factor, abs=factor)


@given(WISHES)
def test_the_nodes_hold_all_objects_without_the_spare_ones(wish: Wish) -> None:
    made = size(wish, FIGURES)

    assert made.activations_max * (made.nodes - wish.spare) >= wish.objects
    assert made.node_memory_used <= wish.node_memory
    assert made.postgres_connections == made.nodes * (wish.pool_max + 1)


@given(WISHES)
def test_a_process_is_not_busier_than_allowed(wish: Wish) -> None:
    made = size(wish, FIGURES)
    busy = wish.writes * FIGURES.write_s + wish.reads * FIGURES.read_s

    assert busy / (made.gates - wish.spare) <= wish.utilisation * 1.000001


def test_doubling_a_load_that_needs_many_nodes_about_doubles_them() -> None:
    wish = Wish(writes=20_000, reads=20_000, spare=0)
    once, twice = size(wish, FIGURES), size(replace(wish, writes=40_000, reads=40_000), FIGURES)

    assert 2 * once.nodes - 1 <= twice.nodes <= 2 * once.nodes


def test_figures_equal_the_results_of_the_benchmarks() -> None:
    results: dict[str, Any] = json.loads((BENCHMARKS / "results.json").read_text(encoding="utf-8"))
    footprint: dict[str, Any] = json.loads((BENCHMARKS / "footprint.json").read_text(encoding="utf-8"))

    assert results["figures"]["resident bytes per active object"] == FIGURES.activation_bytes
    assert footprint["resident_bytes"]["node"] == FIGURES.node_bytes
    per_1000 = FIGURES.change_bytes[0] + 1_000 * FIGURES.change_bytes[1]
    assert per_1000 == pytest.approx(footprint["bytes"]["1000"]["change"], rel=0.1)
    writes = sorted(each["calls_per_s"] for each in results["cluster"]["durable call, gate + node + PostgreSQL"])
    assert writes[0] <= 1 / FIGURES.write_s <= writes[-1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"objects": -1}, "objects"),
        ({"writes": float("nan")}, "writes"),
        ({"reads": float("inf")}, "reads"),
        ({"active": 7, "objects": 6}, "active"),
        ({"keyed": 1.5}, "keyed"),
        ({"utilisation": 1.0}, "utilisation"),
        ({"changes_days": -1}, "changes_days"),
        ({"pool_max": 0}, "pool_max"),
        ({"node_memory": 100 * MIB}, "node_memory"),
    ],
)
def test_an_invalid_wish_is_refused_with_its_name(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(Nonsense, match=said):
        size(Wish(**wrong), FIGURES)


def test_a_line_goes_through_its_points() -> None:
    at_zero, slope = line({1.0: 5.0, 2.0: 7.0, 4.0: 11.0})

    assert [at_zero, slope] == pytest.approx([3.0, 2.0])


@pytest.mark.parametrize(("written", "count"), [("1Gi", GIB), ("512Mi", 512 * MIB), ("1.5k", 1_500), ("77", 77)])
def test_memory_is_written_as_in_kubernetes(written: str, count: int) -> None:
    assert quantity(written) == count


@pytest.mark.parametrize("written", ["", "Gi", "1Zi", "lots"])
def test_other_ways_of_writing_it_are_refused(written: str) -> None:
    with pytest.raises(Nonsense):
        quantity(written)


def test_the_command_prints_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "--objects", "1000", "--node-memory", "2Gi"]) == 0
    assert "connections" in capsys.readouterr().out

    assert main(["size", "--objects", "1000", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["size"]["activations_max"] == 1000
    assert printed["figures"]["node_bytes"] == FIGURES.node_bytes

    assert main(["size", "--keyed", "2"]) == 2
    assert "keyed" in capsys.readouterr().out


def test_bytes_are_written_with_units() -> None:
    assert [human(5), human(3 * MIB), human(2.5 * GIB)] == ["5 bytes", "3.0 MiB", "2.5 GiB"]


def test_a_feed_that_is_switched_off_takes_no_disk() -> None:
    without = size(Wish(writes=500, changes_days=0), FIGURES)

    assert (without.disk_changes_per_day, without.disk_kept) == (0, 0)
    assert size(Wish(writes=500, changes_days=1), FIGURES).disk_kept > 0
