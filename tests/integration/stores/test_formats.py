"""Data directories of format 1, which records had neither links nor causes, are opened and continued."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from goverse_node.stores.wal.admin import verify
from tests.integration.stores.samples import call, committed, key, opened

SAMPLE = Path(__file__).with_name("format-1")


@pytest.mark.requirement("WAL-4")
async def test_a_directory_of_format_1_is_read_and_continued(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(SAMPLE, directory)
    assert verify(directory).problems == []
    async with opened(directory) as store:
        old = await store.changes(4, 100)
        assert [(change.key.id, change.version) for change in old] == [("c1", 3), ("c0", 3), ("c1", 4)]
        assert {(change.previous_seq, change.anchor_seq, change.generation, change.cause) for change in old} == {
            (0, 0, 1, None)
        }
        (seq,) = await committed(store, [call("c0", 3, "k-new")])
        newest = await store.change(key("c0"), seq)
        assert newest is not None
        assert (newest.version, newest.previous_seq, newest.generation) == (4, old[1].commit_seq, 1)
        kept = store.recall(key("c1"), "k1")
        assert kept is not None
        assert kept.reply == b"1"
        await store.snapshot()
    async with opened(directory) as store:
        assert await store.living() == {("default", "Counter"): 2}
    assert verify(directory).problems == []
