"""Tests of backups: a complete dump gets its final name, and the oldest backups are deleted."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from goverse_cli.backups import ABANDONED_S, keep, partial_of, prepare
from goverse_cli.failure import Failure

pytestmark = pytest.mark.requirement("OPS-6")

NIGHT = datetime(2026, 11, 21, 2, 17, tzinfo=UTC)


def dumped(folder: Path, content: str | bytes, pod: str = "pod", kind: str = "postgres") -> Path:
    """Write a partial file as a Pod would, and return its path."""
    path = partial_of(folder, kind, pod)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_the_newest_are_kept_and_other_kinds_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "etcd-20200101T000000Z").write_text("snapshot")
    for day in range(4):
        keep(dumped(tmp_path, f"dump {day}"), "postgres", 2, NIGHT + timedelta(days=day))

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "etcd-20200101T000000Z": "snapshot",
        "postgres-20261123T021700Z": "dump 2",
        "postgres-20261124T021700Z": "dump 3",
    }


@pytest.mark.parametrize("content", [None, ""])
def test_without_a_new_dump_nothing_is_removed(content: str | None, tmp_path: Path) -> None:
    for day in range(3):
        (tmp_path / f"postgres-2026110{day}T021700Z").write_text("dump")
    if content is not None:
        dumped(tmp_path, content)

    with pytest.raises(Failure, match="missing or empty"):
        keep(partial_of(tmp_path, "postgres", "pod"), "postgres", 1, NIGHT)
    assert len(list(tmp_path.glob("postgres-*Z"))) == 3


def test_concurrent_backups_keep_separate_files(tmp_path: Path) -> None:
    first, second = dumped(tmp_path, "first", "a"), dumped(tmp_path, "half of", "b")
    named, _ = keep(first, "postgres", 1, NIGHT)
    assert named.read_text() == "first"
    assert second.read_text() == "half of", "the partial file of another Pod is not changed"

    second.write_text("second")
    later, removed = keep(second, "postgres", 1, NIGHT)
    assert (later.name, later.read_text(), removed) == ("postgres-20261121T021701Z", "second", [named])


def test_a_snapshot_of_etcd_is_read_to_its_end_before_old_ones_go(tmp_path: Path) -> None:
    pages = bytes(range(256)) * 8
    whole = pages + hashlib.sha256(pages).digest()
    old, _ = keep(dumped(tmp_path, whole, kind="etcd"), "etcd", 1, NIGHT)
    changed = b"x" + whole[1:]
    for torn in (whole[:-600], whole[:-1], whole[:20], changed):
        with pytest.raises(Failure, match="damaged or incomplete"):
            keep(dumped(tmp_path, torn, kind="etcd"), "etcd", 1, NIGHT + timedelta(days=1))
    assert old.read_bytes() == whole


def test_the_folder_is_made_and_what_was_abandoned_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    assert prepare(folder) == []
    old, fresh = dumped(folder, "x", "gone"), dumped(folder, "x", "there")
    (folder / "postgres-20200101T000000Z").write_text("dump")
    long_ago = time.time() - ABANDONED_S - 60
    for path in (old, folder / "postgres-20200101T000000Z"):
        os.utime(path, (long_ago, long_ago))

    assert prepare(folder) == [old]
    assert sorted(path.name for path in folder.iterdir()) == ["postgres-20200101T000000Z", fresh.name]
