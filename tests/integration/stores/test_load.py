"""`goverse dump --all` and `goverse load` copy a store, on one machine and into a cluster."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from goverse import Object, call
from goverse.errors import CursorExpired, GoverseError
from goverse.model.frames import Operation, Reply, Request
from goverse.model.json_text import DEPTH_MAX
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse.model.replies import encode_reply
from goverse.objects.registry import Registry
from goverse_node.node import Node
from goverse_node.stores.postgres.load import load as load_into_database
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.verify import verify
from goverse_node.stores.wal.dump import dump
from goverse_node.stores.wal.store import WalStore
from tests.integration.cli.processes import goverse

pytestmark = pytest.mark.requirement("DUR-9")


class Counter(Object):
    value: int = 0

    @call
    async def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    @call(readonly=True)
    async def look(self) -> int:
        return self.value


DAY_MS = 86_400_000
NAMES = ("a", "b/ü", "shard#7/x", "z" * 512)
CREATIONS = {"a": b"0123456789abcdef", "b/ü": b""}
ANSWER = encode_reply(Reply(b'{"answer": 1}', 2))
"""Digests of creation arguments: one, one of an object without arguments, and none for the others."""


def key(name: str, type_name: str = "Counter", namespace: str = "default") -> ObjectKey:
    return ObjectKey(namespace, type_name, name)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def written(
    target: ObjectKey,
    expected: int,
    state: dict[str, Any] | None,
    idempotency_key: str = "",
    creation: bytes | None = None,
) -> CommitRecord:
    reply = StoredReply(b"print", ANSWER, now_ms() + DAY_MS) if idempotency_key else None
    body = json.dumps(state).encode() if state is not None else None
    record = CommitRecord(target, expected, expected + 1, body, 3, now_ms(), idempotency_key or None, reply)
    return replace(record, creation=creation)


async def fill(directory: Path) -> None:
    """Leave objects of several names, versions and namespaces, deleted ones, and replies behind."""
    store = WalStore(directory)
    await store.open()
    for name in NAMES:
        second = written(key(name), 1, {"value": 2}, f"key of {name[:9]}", CREATIONS.get(name))
        await store.commit([written(key(name), 0, {"value": 1}), second])
    await store.commit([written(key("n", "Other", "shop"), 0, {"text": "é\u2028"}, "gv-~derived")])
    await store.commit([written(key("gone"), 0, {"value": 1}), written(key("gone"), 1, None)])
    await store.close()


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    await fill(directory)
    return directory


@pytest.fixture
def dumped(source: Path, tmp_path: Path) -> Path:
    done = goverse("dump", "--all", "--data-dir", str(source), cwd=tmp_path)
    path = tmp_path / "all.ndjson"
    path.write_text(done.stdout, encoding="utf-8")
    return path


def everything(directory: Path) -> list[str]:
    return list(dump(directory, replies=True, tombstones=True, floors=True))


async def test_an_embedded_store_becomes_another_with_all_that_callers_can_see(
    source: Path, dumped: Path, tmp_path: Path
) -> None:
    done = goverse("-o", "json", "load", str(dumped), "--into", "target", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert {name: shown[name] for name in ("objects", "deleted", "replies")} == {
        "objects": 5,
        "deleted": 1,
        "replies": 5,
    }
    assert everything(tmp_path / "target") == everything(source)
    store = WalStore(tmp_path / "target")
    await store.open()
    try:
        last = max(json.loads(line)["commit_seq"] for line in everything(source))
        with pytest.raises(CursorExpired):
            await store.changes(0, 10)
        [again] = await store.commit([written(key("gone"), 2, {"value": 9})])
        assert again == last + 1 == int(shown["next_seq"])
        assert store.recall(key("a"), "key of a") is not None
    finally:
        await store.close()


async def test_floors_of_forgotten_tombstones_are_kept(tmp_path: Path) -> None:
    (tmp_path / "all.ndjson").write_text('{"namespace":"default","type":"Counter","floor":41}\n')

    assert goverse("load", "all.ndjson", "--into", "target", cwd=tmp_path).returncode == 0

    store = WalStore(tmp_path / "target")
    await store.open()
    loaded = store.load(key("new"))
    await store.close()
    assert loaded is not None
    assert (loaded.version, loaded.state) == (41, None)
    assert everything(tmp_path / "target") == ['{"namespace":"default","type":"Counter","floor":41}']


async def _loaded(answer: Any) -> Any:
    return await answer if isinstance(answer, asyncio.Future) else answer


async def test_a_cluster_takes_over_versions_states_and_replies(database: str, source: Path, dumped: Path) -> None:
    done = goverse("-o", "json", "load", str(dumped), "--cluster", "--dsn", database, cwd=dumped.parent)

    assert done.returncode == 0, done.stderr
    store = PostgresStore(PostgresOptions(dsn=database), owner="n1")
    await store.open()
    try:
        for line in map(json.loads, dump(source, tombstones=True)):
            name = key(line["id"], line["type"], line["namespace"])
            found = await _loaded(store.load(name))
            assert (found.version, found.commit_seq, found.state_version) == (line["version"], line["commit_seq"], 3)
            assert (json.loads(found.state) if found.state else None) == line.get("state")
            assert (found.creation.hex() if found.creation is not None else None) == line.get("creation")
        kept = await _loaded(store.recall(key("a"), "key of a"))
        assert (kept.fingerprint, kept.reply) == (b"print", ANSWER)
        [position] = await store.commit([written(key("a"), 2, {"value": 3})])
        assert isinstance(position, int)
        assert position > int(json.loads(done.stdout)["commit_seq"])
        with pytest.raises(CursorExpired):
            await store.changes(0, 10)
        assert [change.key.id for change in await store.changes(position - 1, 10)] == ["a"]
    finally:
        await store.close()
    connection = await asyncpg.connect(database)
    findings = await verify(connection)
    await connection.close()
    assert [(each.check, each.wrong) for each in findings if each.wrong] == []


async def test_a_repeated_call_gets_the_answer_that_the_embedded_store_gave(database: str, tmp_path: Path) -> None:
    async def add(store: Any, idempotency_key: str) -> tuple[bytes, bool]:
        await store.open()
        node = Node(Registry([Counter]), store)
        await node.start()
        request = Request(
            Operation.CALL, key("c"), "add", b'{"amount": 5}', node.now() + 30, "r", idempotency_key=idempotency_key
        )
        reply = await node.submit(request)
        assert reply.problem is None, reply.problem
        await node.stop(1)
        await store.close()
        return reply.body, reply.replayed

    first = await add(WalStore(tmp_path / "source"), "click-1")
    dumped = goverse("dump", "--all", "--data-dir", "source", cwd=tmp_path)
    done = goverse("load", "-", "--cluster", "--dsn", database, cwd=tmp_path, stdin=dumped.stdout)
    assert done.returncode == 0, done.stderr

    assert await add(PostgresStore(PostgresOptions(dsn=database), owner="n1"), "click-1") == (first[0], True)
    assert await add(PostgresStore(PostgresOptions(dsn=database), owner="n2"), "click-2") == (b"10", False)


async def test_a_database_in_use_or_with_objects_is_refused_and_stays_as_it_was(
    database: str, dumped: Path, tmp_path: Path
) -> None:
    def load(*more: str) -> tuple[int, str]:
        done = goverse("load", str(dumped), "--cluster", "--dsn", database, *more, cwd=tmp_path)
        return done.returncode, done.stderr

    store = PostgresStore(PostgresOptions(dsn=database), owner="n1")
    await store.open()
    await store.commit([written(key("other"), 0, {"value": 1})])
    code, told = await asyncio.to_thread(load)
    await store.close()
    assert (code, "stop all nodes first" in told) == (1, True), told

    code, told = load()
    assert (code, "load into an empty one, or add to it with --add" in told) == (1, True), told
    assert load("--add")[0] == 0
    code, told = load("--add")
    assert (code, "already contains objects of the dump: default/Counter/" in told) == (1, True), told
    one = line(id="shard#9999/x")
    done = goverse("load", "-", "--cluster", "--dsn", database, "--add", cwd=tmp_path, stdin=one)
    code, told = done.returncode, done.stderr
    assert (code, "names a shard outside of the cluster's range 0 to 8191" in told) == (1, True), told


async def test_positions_of_a_cluster_that_was_used_for_long_are_taken_over(database: str) -> None:
    last = 1 << 50
    connection = await asyncpg.connect(database)
    loaded = await load_into_database(
        connection, lambda _: iter([line(commit_seq=last).encode()]), now_ms=now_ms(), shards=8192, add=False
    )
    await connection.close()
    store = PostgresStore(PostgresOptions(dsn=database), owner="n1")
    await store.open()
    [position] = await store.commit([written(key("c"), 1, {"value": 2})])

    assert isinstance(position, int)
    assert position > loaded.commit_seq > last
    assert [change.key.id for change in await store.changes(position - 1, 10)] == ["c"]
    await store.close()


async def test_a_node_that_starts_during_the_load_sees_what_is_loaded(database: str) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def lines(what: str) -> Iterator[bytes]:
        if what == "objects":
            loading.set()
            assert go_on.wait(60)
        yield line(id="a", state={"value": 2}).encode()

    async def load() -> None:
        connection = await asyncpg.connect(database)
        await load_into_database(connection, lines, now_ms=now_ms(), shards=8192, add=False)
        await connection.close()

    async def look() -> bytes:
        await store.open()
        await node.start()
        reply = await node.submit(Request(Operation.CALL, key("a"), "look", b"", node.now() + 60, "r"))
        assert reply.problem is None, reply.problem
        return reply.body

    store = PostgresStore(PostgresOptions(dsn=database), owner="n1")
    node = Node(Registry([Counter]), store)
    work = asyncio.create_task(asyncio.to_thread(asyncio.run, load()))
    await asyncio.to_thread(loading.wait, 60)
    seen = asyncio.create_task(look())
    watching = await asyncpg.connect(database)
    async with asyncio.timeout(60):
        while not seen.done() and not await watching.fetchval(  # noqa: ASYNC110  # the server changes it
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'goverse' AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.01)
    await watching.close()
    go_on.set()
    await work
    assert await seen == b"2"
    await node.stop(1)
    await store.close()


def line(**members: Any) -> str:
    whole = {
        "namespace": "default",
        "type": "Counter",
        "id": "c",
        "version": 1,
        "commit_seq": 1,
        "modified_ms": 1,
        "state_version": 1,
        "state": {"value": 1},
    }
    return json.dumps({name: value for name, value in {**whole, **members}.items() if value is not ...})


def _wrong_lines() -> Iterator[tuple[str, str]]:
    yield "{", "line 2: "
    yield "[]", "the line is not a JSON object"
    yield line(id=...), "id is missing"
    yield line(state=...), "state is missing"
    yield line(id=""), "the object id has 0 bytes"
    yield line(type="_x"), "type '_x' is not a valid class name"
    yield line(namespace="!"), "the namespace is not"
    yield line(version=0), "version is not a whole number from 1"
    yield line(version=True), "version is not a whole number from 1"
    yield line(commit_seq=1.5), "commit_seq is not a whole number from 1"
    yield line(version=(1 << 63) - 1), "version is not a whole number from 1"
    yield line(commit_seq=(1 << 63) - 1), "commit_seq is not a whole number from 1"
    yield line(commit_seq=1 << 63), "commit_seq is not a whole number from 1"
    yield line(state=[1]), "state is not a JSON object"
    yield line(deleted=True), "state is an unknown member"
    yield line(state=..., deleted=False), "deleted is not true"
    yield line(owner="x"), "owner is an unknown member; a newer release may have written the dump"
    yield line(id="first"), "an earlier line has the same name"
    yield line(state={"text": "x" * (4 << 20)}), "state has 4194"
    yield line(state={"x": 1}).replace('"x": 1', '"x": NaN'), "NaN is not a JSON number"
    yield line(state={"x": 1}).replace('"x": 1', '"x": 1e999'), "the number 1e999 is too large"
    yield '{"a":' * 100_000, "the JSON is nested too deeply"
    twice = line(id="t").replace('"value": 1', '"value": 1, "\\u0076alue": 2')
    yield twice, 'line 2 (default/Counter/t): the member "value" occurs twice in one object'
    yield line(id="t").replace('"id": "t"', '"id": "s", "id": "t"'), 'the member "id" occurs twice in one object'
    deep: dict[str, Any] = {}
    for _ in range(DEPTH_MAX + 1):
        deep = {"a": deep}
    yield line(id="d", state=deep), "line 2 (default/Counter/d): state: it is nested deeper than 200 levels"
    yield line(id="d", owner=deep), "it is nested deeper than 200 levels"
    half = line(id="h", state={"text": "x\ud800y"})
    yield half, r'line 2 (default/Counter/h): state: a text has half a surrogate pair: {"text":"x\ud800y'
    yield line(id="h\ud800"), "a text has half a surrogate pair"
    kept: dict[str, Any] = {"version": ..., "modified_ms": ..., "state_version": ..., "state": ...}
    kept |= {"idempotency_key": "k", "expires_ms": 1, "fingerprint": "00" * 16}
    for reply in (b"\x01", b"\x01" + bytes(8) + b"\x02{}", b"\x01" + bytes(8) + b"\x02["):
        yield line(**kept, reply=base64.b64encode(reply).decode()), "reply cannot be decoded"
    newer = base64.b64encode(b"\x02" + bytes(9)).decode()
    yield line(**kept, reply=newer), "a stored reply has format 2"


def test_a_state_as_deep_as_a_request_may_be_is_loaded(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(DEPTH_MAX - 1):
        deep = {"a": deep}
    (tmp_path / "dump.ndjson").write_text(line(state=deep) + "\n")

    done = goverse("load", "dump.ndjson", "--into", "target", cwd=tmp_path)

    assert (done.returncode, json.loads(everything(tmp_path / "target")[0])["state"]) == (0, deep), done.stderr


@pytest.mark.parametrize(("wrong", "complaint"), list(_wrong_lines()), ids=lambda text: text[-40:])
def test_every_line_is_checked_before_anything_is_loaded(tmp_path: Path, wrong: str, complaint: str) -> None:
    (tmp_path / "dump.ndjson").write_text(f"{line(id='first')}\n{wrong}\n\n{line(id='last')}\n", encoding="utf-8")

    done = goverse("load", "dump.ndjson", "--into", "target", cwd=tmp_path)

    assert done.returncode == 1
    assert "1 lines cannot be loaded; nothing was loaded" in done.stderr
    assert complaint in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["dump.ndjson"]


def test_an_existing_or_missing_target_is_refused(dumped: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine").touch()

    there = goverse("load", str(dumped), "--into", "target", cwd=tmp_path)
    unsaid = goverse("load", str(dumped), cwd=tmp_path)
    missing = goverse("load", "missing.ndjson", "--into", "new", cwd=tmp_path)

    assert (there.returncode, unsaid.returncode, missing.returncode) == (2, 2, 2)
    assert "target is not empty; name a new directory" in there.stderr
    assert "name one destination" in unsaid.stderr
    assert "missing.ndjson cannot be read: No such file or directory" in missing.stderr


def test_an_unreadable_point_of_a_dump_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "dump.ndjson").write_bytes(b"\xff\xfe\n")

    done = goverse("load", "dump.ndjson", "--into", "target", cwd=tmp_path)

    assert done.returncode == 1
    assert "line 1: byte 0 is not UTF-8" in done.stderr
    assert GoverseError.code not in done.stderr
