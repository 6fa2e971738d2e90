"""The top level of the node can be read at one glance."""

from tests.tree import ROOT

ENTRIES_MAX = 18


def test_the_top_of_the_node_fits_on_one_screen() -> None:
    entries = [entry.name for entry in (ROOT / "node" / "goverse_node").iterdir() if entry.name != "__pycache__"]

    assert len(entries) <= ENTRIES_MAX, sorted(entries)
