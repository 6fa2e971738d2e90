"""The manifest is accepted completely or refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.errors import DataDamaged, DataNewer
from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.manifest import Manifest, SnapshotEntry
from goverse_node.stores.wal.segment import Origin

PATH = Path("manifest.json")
ORIGIN = Origin("ab" * 16, "cd" * 8)
ENTRIES = st.builds(
    SnapshotEntry,
    st.integers(0, 2**63),
    st.integers(0, 2**40),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.integers(0, 2**44),
)
MANIFESTS = st.builds(
    Manifest,
    st.just(ORIGIN),
    st.integers(0, 2**44),
    st.lists(st.integers(1, 2**63), max_size=5).map(tuple),
    st.lists(ENTRIES, max_size=3).map(tuple),
)


def entry(seq: int) -> SnapshotEntry:
    """Return a manifest entry of a snapshot at a position."""
    return SnapshotEntry(seq, 1, 2, 3, 4, 5)


@pytest.mark.requirement("WAL-1")
@given(MANIFESTS)
def test_a_manifest_is_read_back_as_written(manifest: Manifest) -> None:
    content = manifests.encode(manifest)
    assert manifests.decode(content, PATH) == manifest
    assert json.loads(content)["format"] == manifests.FORMAT


@pytest.mark.requirement("WAL-1")
def test_no_flipped_bit_goes_unnoticed() -> None:
    content = manifests.encode(Manifest(ORIGIN, 1, (1, 17), (entry(16),)))
    for at in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            with pytest.raises(DataDamaged, match=r"manifest\.json is damaged at offset"):
                manifests.decode(bytes(changed), PATH)
    for cut in range(len(content)):
        with pytest.raises(DataDamaged):
            manifests.decode(content[:cut], PATH)


@pytest.mark.requirement("WAL-4")
def test_a_newer_manifest_is_refused_whatever_else_it_contains() -> None:
    document = {"format": 7, "checksum": "00000000", "future": ["things"]}
    content = manifests.seal(json.dumps(document, indent=2).encode())
    with pytest.raises(DataNewer, match="format 7 at offset 0, this release reads up to 1"):
        manifests.decode(content, PATH)


@pytest.mark.requirement("WAL-2")
def test_a_trim_keeps_the_log_after_the_oldest_snapshot_that_it_keeps() -> None:
    manifest = Manifest(ORIGIN, 1, (1, 11, 21, 31), (entry(10), entry(20), entry(30)))
    assert manifest.trimmed(2) == Manifest(ORIGIN, 1, (21, 31), (entry(20), entry(30)))
    assert manifest.trimmed(1) == Manifest(ORIGIN, 1, (31,), (entry(30),))
    assert manifest.trimmed(4) == manifest, "with fewer snapshots than that, the whole log is kept"
    assert manifest.trimmed_to({30}).segments == (31,)
    assert manifest.trimmed_to({99}) == manifest


@pytest.mark.requirement("WAL-2")
def test_a_new_snapshot_replaces_the_damaged_ones_that_it_skipped() -> None:
    manifest = Manifest(ORIGIN, 1, (1, 31), (entry(10), entry(20)))
    assert [one.seq for one in manifest.with_snapshot(entry(30), base_seq=10).snapshots] == [10, 30]
    assert [one.seq for one in manifest.with_snapshot(entry(30), base_seq=20).snapshots] == [10, 20, 30]
    assert [one.seq for one in manifest.with_snapshot(entry(30), base_seq=0).snapshots] == [30]
