"""After one flipped bit, a store either recovers everything acknowledged or refuses with file and offset."""

from dataclasses import replace
from pathlib import Path

import pytest

from goverse.errors import DataDamaged, DataNewer, StoreError
from goverse.model.effects import Effects, Mark
from goverse.testing.outbox_harness import ended, sends, sent, settlement
from goverse_node.stores.wal.admin import verify
from goverse_node.stores.wal.restore import restore
from goverse_node.stores.wal.segment import RECORDS_AT, SLOTS
from goverse_node.stores.wal.store import WalStore
from tests.integration.stores.disk import UnsyncedFiles
from tests.integration.stores.samples import (
    call,
    call_many,
    calls_seen,
    committed,
    files_of,
    filled,
    opened,
    wal_store,
    write_files,
)
from tests.tiers import forms

CALLS = 3


async def two_snapshots(directory: Path) -> dict[str, bytes]:
    """Return the files of a store with two snapshots and log after each."""
    async with opened(directory) as store:
        await call_many(store, range(CALLS))
        await store.snapshot()
        await call_many(store, range(CALLS, 2 * CALLS))
        await store.snapshot()
        await call_many(store, range(2 * CALLS, 3 * CALLS))
    return files_of(directory)


async def survives(directory: Path, calls: int) -> bool:
    """Open the store. Returns True if all ``calls`` are there, False if it refuses properly; otherwise fails."""
    store = wal_store(directory, files=UnsyncedFiles())
    refusal = await refusal_of(store)
    if refusal is not None:
        assert Path(refusal.extra["file"]).is_relative_to(directory)
        assert refusal.extra["file"] in refusal.detail
        assert f"offset {refusal.extra['offset']}" in refusal.detail
        return False
    try:
        assert calls_seen(store) == calls
        assert store.health().commit_seq == calls
    finally:
        await store.close()
    return True


async def refusal_of(store: WalStore) -> StoreError | None:
    """Open the store. Returns the error, which must be one of the two that are allowed, or None."""
    try:
        await store.open()
    except (DataDamaged, DataNewer) as refusal:
        return refusal
    return None


def flipped(data: bytes, at: int, bit: int) -> bytes:
    """Return ``data`` with one bit changed."""
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


SPOKEN_FOR = {at for first in (0, *SLOTS) for at in range(first, first + 80)}


def offsets_of(data: bytes) -> list[int]:
    """Return the offsets to flip: all bytes with data, and a sample of the empty parts of a header page."""
    if not data.startswith(b"GOVERSEW"):
        return list(range(len(data)))
    return sorted({*SPOKEN_FOR, *range(0, RECORDS_AT, 97), *range(RECORDS_AT, len(data))})


@pytest.mark.requirement("WAL-1", "WAL-2", "WAL-4", "DUR-1")
@pytest.mark.parametrize("step", forms(quick=19, system=1))
async def test_no_flipped_bit_is_silent(tmp_path: Path, step: int) -> None:
    content = await two_snapshots(tmp_path / "source")
    outcomes: dict[str, list[bool]] = {}
    directory = tmp_path / "flipped"
    for name, data in content.items():
        for at in offsets_of(data)[::step]:
            for path in directory.rglob("*"):
                if path.is_file():
                    path.unlink()
            write_files(directory, {**content, name: flipped(data, at, at % 8)})
            outcomes.setdefault(name, []).append(await survives(directory, 3 * CALLS))

    assert not any(outcomes["manifest.json"])
    newest, older = sorted((name for name in outcomes if name.endswith(".snap")), reverse=True)
    assert all(outcomes[newest]), "the older snapshot and the log behind it replace the newest one"
    assert all(outcomes[older]), "the older snapshot is not needed while the newest one is whole"


@pytest.mark.requirement("WAL-1")
@pytest.mark.parametrize("step", forms(quick=7, system=1))
async def test_every_bit_of_a_header_and_a_record_counts(tmp_path: Path, step: int) -> None:
    await filled(tmp_path / "source", 1)
    content = files_of(tmp_path / "source")
    (name,) = (name for name in content if name.endswith(".wal"))
    size = len(content[name])
    directory = tmp_path / "flipped"
    for at in range(RECORDS_AT, size, step):
        for bit in range(8):
            write_files(directory, {**content, name: flipped(content[name], at, bit)})
            assert not await survives(directory, 1)
    for at in sorted(SPOKEN_FOR)[::step]:
        for path in (directory / "wal").iterdir():
            path.unlink()
        write_files(directory, {**content, name: flipped(content[name], at, at % 8)})
        assert await survives(directory, 1), f"a flip at {at} hurts no record"


@pytest.mark.requirement("WAL-1", "WAL-2", "DUR-3")
@pytest.mark.parametrize("step", forms(quick=7, system=1))
@pytest.mark.parametrize("file", ["log", "snapshot"])
async def test_every_byte_of_records_with_effects_counts(tmp_path: Path, step: int, file: str) -> None:
    async with opened(tmp_path / "source") as store:
        everything = Effects((sent("c_2"),), settlement(7), (), (Mark(1 << 14, 1, "x"),), (ended(),))
        await committed(store, [sends(sent("c_1")), replace(call("c1", 0, "k"), effects=everything)])
        if file == "snapshot":
            await store.snapshot()
            await store.trim()
    content = files_of(tmp_path / "source")
    (name,) = (name for name in content if name.endswith(".wal" if file == "log" else ".snap"))
    directory = tmp_path / "flipped"
    for at in range(RECORDS_AT if file == "log" else 0, len(content[name]), step):
        write_files(directory, {**content, name: flipped(content[name], at, at % 8)})
        assert not await survives(directory, 1)


@pytest.mark.requirement("WAL-1", "WAL-2")
async def test_damage_below_a_snapshot_does_not_stop_a_start(tmp_path: Path) -> None:
    content = await two_snapshots(tmp_path)
    first = sorted(name for name in content if name.endswith(".wal"))[0]
    write_files(tmp_path, {first: flipped(content[first], RECORDS_AT + 30, 3)})
    assert await survives(tmp_path, 3 * CALLS)
    assert verify(tmp_path).problems, "but `verify` reports the damage"


@pytest.mark.requirement("WAL-1", "WAL-3")
async def test_records_before_the_damage_can_be_restored(tmp_path: Path) -> None:
    await filled(tmp_path / "source", 9)
    content = files_of(tmp_path / "source")
    (name,) = (name for name in content if name.endswith(".wal"))
    size = len(content[name])
    record = (size - RECORDS_AT) // 9
    write_files(tmp_path / "source", {name: flipped(content[name], RECORDS_AT + 6 * record + 20, 0)})
    store = wal_store(tmp_path / "source")
    with pytest.raises(DataDamaged) as refused:
        await store.open()

    for asked in (None, 7, 9):
        with pytest.raises(DataDamaged, match="--to-seq 6"):
            restore(tmp_path / "source", tmp_path / "new", to_seq=asked)
    good = int(refused.value.extra["last_good_seq"])
    restored = restore(tmp_path / "source", tmp_path / "new", to_seq=good)

    assert good == 6
    assert restored.next_seq > 9, "no position that was acknowledged is given out again"
    async with opened(tmp_path / "new") as store:
        assert calls_seen(store) == 6


@pytest.mark.requirement("WAL-3")
@pytest.mark.parametrize("damage", ["flipped", "missing"])
async def test_everything_can_be_restored_without_the_manifest(tmp_path: Path, damage: str) -> None:
    content = await two_snapshots(tmp_path / "source")
    if damage == "flipped":
        write_files(tmp_path / "source", {"manifest.json": flipped(content["manifest.json"], 99, 0)})
    else:
        (tmp_path / "source" / "manifest.json").unlink()
    restore(tmp_path / "source", tmp_path / "new")
    async with opened(tmp_path / "new") as store:
        assert calls_seen(store) == 3 * CALLS
