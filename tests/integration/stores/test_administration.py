"""Restore, dump, diff, verify, snapshot and trim of a data directory."""

import itertools
import json
from datetime import datetime
from pathlib import Path

import pytest

from goverse.errors import DataDamaged, RestoreRefused
from goverse_node.stores.wal.admin import snapshot, trim, verify
from goverse_node.stores.wal.diff import diff
from goverse_node.stores.wal.dump import dump
from goverse_node.stores.wal.restore import restore
from tests.integration.stores.samples import (
    CLOCK,
    NOW_MS,
    call,
    call_many,
    calls_seen,
    committed,
    delete,
    files_of,
    filled,
    key,
    opened,
    put,
    segments_of,
    snapshots_of,
)


async def history(directory: Path) -> None:
    """Fill a store with 30 calls, one per second, and make snapshots after 10 and 20. Nothing is trimmed."""
    async with opened(directory, snapshots_kept=9) as store:
        for n in range(30):
            await committed(store, [call(f"c{n % 3}", n // 3, f"k{n}", at_ms=NOW_MS + 1000 * n)])
            if n in {9, 19}:
                await store.snapshot()


def names_in(directory: Path) -> list[str]:
    """Return the names in a directory."""
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.requirement("WAL-3", "DUR-2")
async def test_any_position_can_be_restored(tmp_path: Path) -> None:
    await history(tmp_path / "a")
    before = files_of(tmp_path / "a")
    for seq in (10, 11, 19, 20, 25, 30):
        into = tmp_path / f"to-{seq}"
        restored = restore(tmp_path / "a", into, to_seq=seq)
        assert (restored.seq, restored.next_seq, restored.objects) == (seq, 31, 3)
        async with opened(into) as store:
            assert calls_seen(store) == seq
            assert store.health().commit_seq == 30
            await call_many(store, range(seq, seq + 2))
        async with opened(into) as store:
            assert calls_seen(store) == seq + 2
            assert store.health().commit_seq == 32
    assert files_of(tmp_path / "a") == before, "the source is only read"


@pytest.mark.requirement("WAL-3")
async def test_a_restored_reply_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    await history(tmp_path / "a")
    restore(tmp_path / "a", tmp_path / "b")
    async with opened(tmp_path / "a") as a, opened(tmp_path / "b") as b:
        for n in range(30):
            assert a.recall(key(f"c{n % 3}"), f"k{n}") == b.recall(key(f"c{n % 3}"), f"k{n}")
            assert a.load(key(f"c{n % 3}")) == b.load(key(f"c{n % 3}"))


@pytest.mark.requirement("WAL-3")
@pytest.mark.parametrize(("seconds", "calls"), [(9.5, 10), (10, 11), (12.3, 13), (25, 26), (99, 30)])
async def test_any_time_can_be_restored(tmp_path: Path, seconds: float, calls: int) -> None:
    await history(tmp_path / "a")
    restore(tmp_path / "a", tmp_path / "b", to_time_ms=NOW_MS + round(1000 * seconds))
    async with opened(tmp_path / "b") as store:
        assert calls_seen(store) == calls


@pytest.mark.requirement("WAL-3")
async def test_a_point_that_is_not_covered_is_refused_and_says_what_is(tmp_path: Path) -> None:
    await history(tmp_path / "a")
    trim(tmp_path / "a", snapshots_kept=2)
    for seq in (0, 9, 31, 1_000):
        with pytest.raises(RestoreRefused, match="covers 10 to 30"):
            restore(tmp_path / "a", tmp_path / "b", to_seq=seq)
    with pytest.raises(RestoreRefused, match="does not reach back") as refused:
        restore(tmp_path / "a", tmp_path / "b", to_time_ms=NOW_MS + 5_000)
    with pytest.raises(RestoreRefused, match="not both"):
        restore(tmp_path / "a", tmp_path / "b", to_seq=1, to_time_ms=1)
    assert not (tmp_path / "b").exists()
    assert names_in(tmp_path) == ["a"], "nothing half made is left"

    oldest = refused.value.extra["oldest_time"]
    assert f"covers {oldest} and later" in refused.value.detail
    oldest_ms = round(datetime.fromisoformat(oldest).timestamp() * 1000)
    assert restore(tmp_path / "a", tmp_path / "b", to_time_ms=oldest_ms).seq == 10


@pytest.mark.requirement("WAL-3")
async def test_a_target_that_is_in_use_is_refused(tmp_path: Path) -> None:
    await history(tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("data")
    (tmp_path / "file").write_text("data")
    for target in ("full", "file", "a"):
        with pytest.raises(RestoreRefused, match="not empty"):
            restore(tmp_path / "a", tmp_path / target)
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "a", tmp_path / "empty")
    async with opened(tmp_path / "empty") as store:
        assert calls_seen(store) == 30


@pytest.mark.requirement("WAL-3")
@pytest.mark.parametrize("name", ["wal", "snapshots"])
async def test_a_restore_verifies_what_it_reads(tmp_path: Path, name: str) -> None:
    await history(tmp_path / "a")
    trim(tmp_path / "a", snapshots_kept=1)
    path = min((tmp_path / "a" / name).iterdir())
    data = bytearray(path.read_bytes())
    data[4096 + 99 if name == "wal" else 99] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataDamaged, match=path.name):
        restore(tmp_path / "a", tmp_path / "b", to_seq=29)
    with pytest.raises(DataDamaged, match=path.name):
        list(dump(tmp_path / "a", to_seq=29))
    assert any(path.name in problem for problem in verify(tmp_path / "a").problems)
    assert not (tmp_path / "b").exists()


@pytest.mark.requirement("WAL-3")
async def test_an_empty_store_can_be_restored(tmp_path: Path) -> None:
    await filled(tmp_path / "a", 0)
    assert restore(tmp_path / "a", tmp_path / "b").next_seq == 1
    assert list(dump(tmp_path / "a")) == list(dump(tmp_path / "b")) == []
    async with opened(tmp_path / "b") as store:
        await call_many(store, range(3))
        assert calls_seen(store) == 3


@pytest.mark.requirement("WAL-3")
async def test_a_dump_has_one_line_per_object_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await committed(store, [put("b", 0, b'{"text":"line\\nbreak \xc3\xa9"}'), put("a", 0), put("gone", 0)])
        await committed(store, [put("a", 1, b'{"value":2}', at_ms=NOW_MS + 5), delete("gone", 1)])
        await store.snapshot()
        await committed(store, [call("a", 2, "k")])
    lines = [json.loads(line) for line in dump(tmp_path)]
    assert lines[1] == {
        "namespace": "default",
        "type": "Counter",
        "id": "b",
        "version": 1,
        "commit_seq": 1,
        "modified_ms": NOW_MS,
        "state_version": 1,
        "state": {"text": "line\nbreak é"},
    }
    assert [(line["id"], line["version"]) for line in lines] == [("a", 3), ("b", 1)]
    assert [json.loads(line)["version"] for line in dump(tmp_path, to_seq=4)] == [2, 1, 1]
    dead = [json.loads(line) for line in dump(tmp_path, tombstones=True)][-1]
    assert (dead["id"], dead["deleted"], dead["version"]) == ("gone", True, 2)
    kept = next(line for line in map(json.loads, dump(tmp_path, replies=True)) if "idempotency_key" in line)
    assert (kept["id"], kept["idempotency_key"], kept["reply"]) == ("a", "k", "Mw==")


@pytest.mark.requirement("WAL-3", "WAL-2", "OBJ-3")
async def test_the_creation_arguments_are_remembered_by_dump_restore_and_snapshot(tmp_path: Path) -> None:
    digest = bytes(range(16))
    named, plain = put("named", 0, b'{"value":1}'), put("plain", 0)
    named.creation, plain.creation = digest, b""
    async with opened(tmp_path / "a") as store:
        await committed(store, [named, plain, put("unknown", 0)])
        await store.snapshot()
        renamed = put("named", 1, b'{"value":2}')
        renamed.creation = digest
        await committed(store, [renamed])
        feed = await store.changes(0, 10)
    lines = {line["id"]: line for line in map(json.loads, dump(tmp_path / "a"))}
    assert (lines["named"]["creation"], lines["named"]["state"]) == (digest.hex(), {"value": 2})
    assert lines["plain"]["creation"] == ""
    assert "creation" not in lines["unknown"]
    assert [each.state for each in feed if each.key.id == "named"] == [b'{"value":1}', b'{"value":2}']

    restore(tmp_path / "a", tmp_path / "b")
    async with opened(tmp_path / "b") as store:
        found = [store.load(key(name)) for name in ("named", "plain", "unknown")]
        assert [each.creation for each in found if each is not None] == [digest, b"", None]
        again = put("named", 2, b'{"value":2}')
        again.creation = b""
        await committed(store, [again])
    changed = [one for one in diff(tmp_path / "a", tmp_path / "b") if one.id == "named"]
    assert [one.what for one in changed] == ["version, creation"]


@pytest.mark.requirement("WAL-3")
async def test_a_dump_of_a_position_that_is_not_covered_is_refused(tmp_path: Path) -> None:
    await history(tmp_path)
    trim(tmp_path, snapshots_kept=1)
    with pytest.raises(RestoreRefused, match="oldest is 20"):
        list(dump(tmp_path, to_seq=5))
    with pytest.raises(RestoreRefused, match="newest is 30"):
        list(dump(tmp_path, to_seq=31))


@pytest.mark.requirement("WAL-3")
async def test_a_diff_finds_what_differs_and_nothing_else(tmp_path: Path) -> None:
    await history(tmp_path / "a")
    restore(tmp_path / "a", tmp_path / "b")
    assert list(diff(tmp_path / "a", tmp_path / "b", replies=True)) == []

    async with opened(tmp_path / "b") as store:
        await committed(store, [put("c1", 10, b'{"value":99}'), put("only-b", 0), delete("c2", 10)])
    found = {(one.id, one.what) for one in diff(tmp_path / "a", tmp_path / "b")}
    assert found == {("c1", "version, state"), ("c2", "only in a"), ("only-b", "only in b")}
    changed = next(one for one in diff(tmp_path / "a", tmp_path / "b") if one.id == "c1")
    assert changed.a is not None
    assert changed.b is not None
    assert (changed.a["state"], changed.b["state"]) == ({"value": 10}, {"value": 99})


@pytest.mark.requirement("WAL-3")
async def test_a_diff_reads_dump_files_too(tmp_path: Path) -> None:
    await history(tmp_path / "a")
    (tmp_path / "dump").write_text("\n".join(reversed(list(dump(tmp_path / "a")))), "utf-8")
    assert list(diff(tmp_path / "a", tmp_path / "dump")) == []
    (tmp_path / "less").write_text("\n".join(itertools.islice(dump(tmp_path / "a"), 2)), "utf-8")
    assert [(one.id, one.what) for one in diff(tmp_path / "less", tmp_path / "a")] == [("c2", "only in b")]
    (tmp_path / "broken").write_text('{"namespace": 1}\n')
    with pytest.raises(DataDamaged, match="line 1"):
        list(diff(tmp_path / "broken", tmp_path / "a"))


@pytest.mark.requirement("WAL-2")
async def test_a_directory_at_rest_can_be_snapshotted_and_trimmed(tmp_path: Path) -> None:
    await filled(tmp_path, 100, segment_bytes=6_000)
    with segments_of(tmp_path)[-1].open("ab") as file:
        file.write(b"torn")
    before = list(dump(tmp_path, replies=True))
    entry = snapshot(tmp_path, now_ms=NOW_MS)
    assert (entry.seq, entry.objects, entry.replies) == (100, 3, 100)
    assert len(segments_of(tmp_path)) > 3, "while there is one snapshot only, the log is the way back"
    removed = trim(tmp_path)
    assert removed.segments > 3
    assert len(segments_of(tmp_path)) == 1
    assert list(dump(tmp_path, replies=True)) == before
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 100
        await call_many(store, range(100, 110))
    snapshot(tmp_path, now_ms=NOW_MS)
    assert len(snapshots_of(tmp_path)) == 2
    removed = trim(tmp_path)
    assert (removed.segments, removed.snapshots) == (1, 1)
    assert removed.size > 0
    async with opened(tmp_path) as store:
        assert calls_seen(store) == 110


@pytest.mark.requirement("WAL-3")
async def test_an_inspection_says_what_is_there(tmp_path: Path) -> None:
    await history(tmp_path)
    found = verify(tmp_path)
    assert found.problems == []
    assert (found.records, found.last_seq, found.acknowledged_seq, found.oldest_seq) == (30, 30, 30, 0)
    assert (found.snapshots, found.objects, found.replies) == (2, 3, 20)
    assert found.size == sum(len(data) for name, data in files_of(tmp_path).items() if "/" in name)
    missing = verify(tmp_path / "nothing")
    assert len(missing.problems) == 1
    for change in (snapshot, trim):
        with pytest.raises(DataDamaged, match="manifest"):
            change(tmp_path / "nothing")


async def test_progress_is_reported(tmp_path: Path) -> None:
    await filled(tmp_path / "a", 300, batch=50)
    told: list[tuple[str, int, int]] = []
    restore(tmp_path / "a", tmp_path / "b", progress=lambda *step: told.append(step))
    assert told
    assert told[-1][1] <= told[-1][2]
    assert CLOCK.wall_ms() == NOW_MS
