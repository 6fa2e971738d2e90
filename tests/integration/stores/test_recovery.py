"""Recovery from every kind of data directory: torn, damaged, incomplete, foreign or newer files."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from goverse.errors import DataDamaged, DataNewer, StoreError, StoreLocked
from goverse_node.stores.encoding import PREFIX
from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.segment import RECORDS_AT, SLOTS, encode_mark
from tests.integration.stores.samples import (
    call_many,
    calls_seen,
    committed,
    files_of,
    filled,
    fixed_origin,
    opened,
    put,
    segments_of,
    wal_store,
    write_files,
)
from tests.tiers import forms


def record_ends(segment: bytes) -> list[int]:
    """Return where each record of a segment ends."""
    ends: list[int] = []
    at = RECORDS_AT
    while at + PREFIX.size <= len(segment):
        length, _ = PREFIX.unpack_from(segment, at)
        if not length:
            break
        at += PREFIX.size + length
        ends.append(at)
    return ends


def marked(segment: bytes, offset: int, seq: int) -> bytes:
    """Return the segment with both marks at the same offset."""
    changed = bytearray(segment)
    for counter in (2, 3):
        mark = encode_mark(counter, offset, seq)
        changed[SLOTS[counter % 2] : SLOTS[counter % 2] + len(mark)] = mark
    return bytes(changed)


@pytest.mark.requirement("WAL-1", "DUR-1")
@pytest.mark.parametrize("step", forms(quick=7, system=1))
async def test_a_tail_cut_at_any_byte_costs_nothing_that_was_acknowledged(tmp_path: Path, step: int) -> None:
    await filled(tmp_path / "source", 9)
    content = files_of(tmp_path / "source")
    name = next(iter(sorted(name for name in content if name.endswith(".wal"))))
    ends = record_ends(content[name])
    acknowledged = 6
    whole = marked(content[name], ends[acknowledged - 1], acknowledged)

    for cut in range(ends[acknowledged - 1], len(whole) + 1, step):
        directory = write_files(tmp_path / f"cut-{cut}", {**content, name: whole[:cut]})
        async with opened(directory) as store:
            seen = calls_seen(store)
            assert seen == sum(end <= cut for end in ends)
            await call_many(store, range(seen, seen + 3))
        async with opened(directory) as store:
            assert calls_seen(store) == seen + 3


@pytest.mark.requirement("WAL-1", "DUR-1")
async def test_a_tail_cut_below_the_mark_is_refused_at_any_byte(tmp_path: Path) -> None:
    await filled(tmp_path / "source", 4)
    content = files_of(tmp_path / "source")
    name = next(iter(sorted(name for name in content if name.endswith(".wal"))))

    for cut in range(RECORDS_AT, len(content[name])):
        directory = write_files(tmp_path / f"cut-{cut}", {**content, name: content[name][:cut]})
        store = wal_store(directory)
        with pytest.raises(DataDamaged) as refused:
            await store.open()
        assert refused.value.extra["file"].endswith(name)
        assert refused.value.extra["offset"] <= cut
        assert "goverse restore" in refused.value.detail


@pytest.mark.requirement("WAL-1")
async def test_a_torn_tail_is_cut_with_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(tmp_path, 3)
    segment = segments_of(tmp_path)[-1]
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(b"half a record")
    with caplog.at_level(logging.WARNING, "goverse.store.wal"):
        async with opened(tmp_path) as store:
            assert calls_seen(store) == 3
    assert f"cut at offset {size}" in caplog.text
    assert segment.stat().st_size == size
    assert len(segments_of(tmp_path)) == 2


async def test_garbage_behind_an_empty_segment_is_cut(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    with segments_of(tmp_path)[-1].open("ab") as file:
        file.write(b"garbage")
    async with opened(tmp_path) as store:
        await call_many(store, range(3))
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 3


@pytest.mark.requirement("WAL-2", "DUR-1")
async def test_positions_go_on_exactly_where_they_ended(tmp_path: Path) -> None:
    used: list[int] = []
    for n in range(6):
        async with opened(tmp_path) as store:
            assert store.health().commit_seq == (used[-1] if used else 0)
            used += await committed(store, [put("c", n)])
    assert used == [1, 2, 3, 4, 5, 6]


async def test_restarts_without_writes_leave_one_empty_segment(tmp_path: Path) -> None:
    await filled(tmp_path, 3)
    for _ in range(5):
        async with opened(tmp_path) as store:
            assert calls_seen(store) == 3
    assert len(segments_of(tmp_path)) == 2


@pytest.mark.requirement("WAL-1")
async def test_a_fresh_folder_is_small(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await call_many(store, range(3))
        assert sum(len(data) for data in files_of(tmp_path).values()) < 150_000
    assert sum(len(data) for data in files_of(tmp_path).values()) < 10_000


@pytest.mark.requirement("WAL-1")
async def test_the_log_rotates_by_size_and_is_read_across_segments(tmp_path: Path) -> None:
    await filled(tmp_path, 300, batch=5, segment_bytes=8_000)
    assert len(segments_of(tmp_path)) > 5
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 300


@pytest.mark.requirement("WAL-1")
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_missing_segment_is_refused_by_name(tmp_path: Path, at: int) -> None:
    await filled(tmp_path, 60, segment_bytes=6_000)
    missing = segments_of(tmp_path)[at]
    missing.unlink()
    store = wal_store(tmp_path)
    with pytest.raises(DataDamaged, match=missing.name):
        await store.open()
    missing.touch()
    with pytest.raises(DataDamaged, match=missing.name):
        await store.open()


async def test_a_missing_manifest_beside_data_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path, 3)
    (tmp_path / "manifest.json").unlink()
    store = wal_store(tmp_path)
    with pytest.raises(DataDamaged, match=r"manifest\.json.*missing"):
        await store.open()


@pytest.mark.requirement("WAL-1")
async def test_a_missing_folder_of_segments_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path, 3)
    (tmp_path / "wal").rename(tmp_path / "elsewhere")
    store = wal_store(tmp_path)
    with pytest.raises(DataDamaged, match="missing"):
        await store.open()


async def test_a_missing_directory_is_made_or_refused_as_asked(tmp_path: Path) -> None:
    refusing = wal_store(tmp_path / "a" / "b", create=False)
    with pytest.raises(DataDamaged, match="missing"):
        await refusing.open()
    assert not (tmp_path / "a").exists()
    async with opened(tmp_path / "a" / "b") as store:
        await call_many(store, range(3))
        assert calls_seen(store) == 3


async def test_an_interrupted_first_start_is_repeated(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    (tmp_path / "manifest.json").unlink()
    async with opened(tmp_path) as store:
        await call_many(store, range(3))
        assert calls_seen(store) == 3


async def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    store = wal_store(tmp_path / "data")
    with pytest.raises(StoreError, match="data"):
        await store.open()


@pytest.mark.requirement("WAL-1")
async def test_a_segment_of_another_store_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path / "a", 5, make_origin=lambda: fixed_origin("a"))
    await filled(tmp_path / "b", 5, make_origin=lambda: fixed_origin("b"))
    segments_of(tmp_path / "a")[0].write_bytes(segments_of(tmp_path / "b")[0].read_bytes())
    store = wal_store(tmp_path / "a")
    with pytest.raises(DataDamaged, match="another store"):
        await store.open()


@pytest.mark.requirement("WAL-1")
async def test_segments_that_changed_places_are_refused(tmp_path: Path) -> None:
    await filled(tmp_path, 60, segment_bytes=6_000)
    one, two = segments_of(tmp_path)[:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    store = wal_store(tmp_path)
    with pytest.raises(DataDamaged, match=one.name):
        await store.open()


@pytest.mark.requirement("WAL-1")
async def test_a_record_that_is_missing_in_the_middle_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path, 9)
    path = segments_of(tmp_path)[0]
    data = path.read_bytes()
    ends = record_ends(data)
    path.write_bytes(data[: ends[3]] + data[ends[4] :] + bytes(ends[4] - ends[3]))
    store = wal_store(tmp_path)
    with pytest.raises(DataDamaged, match="expected position 5"):
        await store.open()


@pytest.mark.requirement("WAL-1")
async def test_a_manifest_older_than_the_log_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path, 5)
    old = (tmp_path / "manifest.json").read_bytes()
    async with opened(tmp_path) as store:
        await call_many(store, range(5, 9))
    (tmp_path / "manifest.json").write_bytes(old)
    store = wal_store(tmp_path)
    with pytest.raises(DataDamaged, match="does not name it"):
        await store.open()


@pytest.mark.requirement("WAL-1")
async def test_damaged_marks_over_an_intact_log_only_log_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(tmp_path, 5)
    path = segments_of(tmp_path)[0]
    data = bytearray(path.read_bytes())
    for at in SLOTS:
        data[at + 3] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING, "goverse.store.wal"):
        async with opened(tmp_path) as store:
            assert calls_seen(store) == 5
    assert "mark is damaged" in caplog.text


@pytest.mark.requirement("WAL-1")
async def test_damaged_marks_over_a_damaged_log_are_refused(tmp_path: Path) -> None:
    await filled(tmp_path, 5)
    path = segments_of(tmp_path)[0]
    data = bytearray(path.read_bytes())
    for at in (SLOTS[0] + 3, SLOTS[1] + 3, len(data) - 5):
        data[at] ^= 1
    path.write_bytes(data)
    store = wal_store(tmp_path)
    with pytest.raises(DataDamaged, match="both marks are damaged"):
        await store.open()


@pytest.mark.requirement("WAL-1")
async def test_a_second_store_on_the_folder_is_refused_with_the_holder(tmp_path: Path) -> None:
    async with opened(tmp_path):
        second = wal_store(tmp_path)
        with pytest.raises(StoreLocked, match=str(tmp_path)) as refused:
            await second.open()
        assert int(refused.value.extra["pid"]) > 0
    async with opened(tmp_path) as store:
        assert store.health().ready


@pytest.mark.requirement("WAL-4")
async def test_a_newer_manifest_is_refused(tmp_path: Path) -> None:
    await filled(tmp_path, 3)
    path = tmp_path / "manifest.json"
    document = json.loads(path.read_bytes())
    document["format"] = manifests.FORMAT + 1
    document["something_new"] = True
    path.write_bytes(manifests.seal(json.dumps({**document, "checksum": "0" * 8}, indent=2).encode()))
    store = wal_store(tmp_path)
    with pytest.raises(DataNewer, match=r"manifest\.json has format 2"):
        await store.open()


@pytest.mark.requirement("WAL-1", "DUR-1")
async def test_a_batch_is_acknowledged_after_the_kernel_said_that_the_disk_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def watch(name: str, *, durable: Callable[[tuple[Any, ...]], bool]) -> None:
        original = getattr(os, name)

        def called(*arguments: Any) -> Any:
            result = original(*arguments)
            if durable(arguments):
                steps.append("durable")
            return result

        monkeypatch.setattr(os, name, called)

    watch("pwritev", durable=lambda arguments: len(arguments) > 3 and bool(arguments[3] & os.RWF_DSYNC))
    watch("fdatasync", durable=lambda _: True)
    async with opened(tmp_path) as store:
        for number in range(5):
            steps.clear()
            await call_many(store, range(number, number + 1))
            assert steps, "acknowledged before the disk has it"
