"""`goverse restore TYPE ID --as-of`: one object gets an earlier state back, and nothing else changes."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from goverse import Object, call
from goverse.errors import Timeout
from goverse.model import json_values
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse.objects.registry import Registry
from goverse_cli.main import run
from goverse_node.node import Node
from goverse_node.put_back import put_back
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.wal.dump import dump
from goverse_node.stores.wal.store import WalStore
from tests.integration.cli.processes import Dev, application, dev, goverse

pytestmark = pytest.mark.requirement("DUR-9")


class Tally(Object):
    value: int = 0

    @call
    async def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @call
    async def add_later(self) -> int:
        self.value += 1
        await asyncio.Event().wait()
        return self.value


KEY = ObjectKey("default", "Tally", "t")


def states(folder: Path) -> dict[str, tuple[int, Any]]:
    lines = map(json.loads, dump(folder / ".goverse", tombstones=True))
    return {line["id"]: (line["version"], line.get("state")) for line in lines}


def read(server: Dev, object_id: str) -> Any:
    return httpx.get(f"{server.url}/objects/Counter/{object_id}", timeout=60).json()


def restore(folder: Path, *arguments: str) -> dict[str, Any]:
    done = goverse("-o", "json", "restore", "Counter", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_beside_a_server_and_at_rest_by_position_and_by_time(tmp_path: Path) -> None:
    application(tmp_path)
    with dev(tmp_path, "app.py", "--no-reload") as server:
        assert [server.increment(), server.increment(), server.increment(object_id="other")] == [1, 2, 1]
        before = datetime.now(UTC).isoformat()
        assert server.increment(by=40) == 42

        made = restore(tmp_path, "c1", "--as-of", before, "--url", server.url)
        assert (made["version"], made["from_version"], made["from_commit_seq"]) == (4, 2, "2")
        assert read(server, "c1") == {"value": 2}
        assert server.increment() == 3
        server.signal(signal.SIGTERM)
        server.wait()

    made = restore(tmp_path, "c1", "--as-of", "1")
    assert (made["version"], made["from_version"]) == (6, 1)
    assert states(tmp_path) == {"c1": (6, {"value": 1}), "other": (1, {"value": 1})}


def test_a_deleted_object_comes_back_with_a_higher_version(tmp_path: Path) -> None:
    application(tmp_path)
    with dev(tmp_path, "app.py", "--no-reload") as server:
        server.increment(by=7)
        server.signal(signal.SIGTERM)
        server.wait()
    _delete_at_rest(tmp_path)

    made = restore(tmp_path, "c1", "--as-of", "1")

    assert made["version"] == 3
    assert states(tmp_path) == {"c1": (3, {"value": 7})}
    with dev(tmp_path, "app.py", "--no-reload") as server:
        assert server.increment() == 8


BOX = """
from goverse import Object


class Box(Object, delete="anyone"):
    size: int = 0

    async def on_create(self, size: int) -> None:
        self.size = size
"""


@pytest.mark.parametrize("served", [True, False])
def test_the_creation_that_the_state_goes_back_to_decides_about_a_repeated_put(tmp_path: Path, served: bool) -> None:
    application(tmp_path, BOX)

    def put(server: Dev, size: int) -> int:
        return httpx.put(f"{server.url}/objects/Box/b", json={"size": size}, timeout=60).status_code

    with dev(tmp_path, "app.py", "--no-reload") as server:
        assert put(server, 1) == 201
        assert httpx.delete(f"{server.url}/objects/Box/b").status_code == 204
        assert put(server, 2) == 201
        if served:
            _restore_box(tmp_path, "--url", server.url)
            assert (put(server, 1), put(server, 2)) == (200, 409)
    if not served:
        _restore_box(tmp_path)
    with dev(tmp_path, "app.py", "--no-reload") as server:
        assert httpx.get(f"{server.url}/objects/Box/b").json() == {"size": 1}
        assert (put(server, 1), put(server, 2)) == (200, 409)


def _restore_box(folder: Path, *more: str) -> None:
    done = goverse("restore", "Box", "b", "--as-of", "1", *more, cwd=folder)
    assert done.returncode == 0, done.stderr


def test_a_mistyped_type_is_refused_by_a_server_too(tmp_path: Path) -> None:
    application(tmp_path)
    with dev(tmp_path, "app.py", "--no-reload") as server:
        server.increment()
        done = goverse("restore", "Conter", "c1", "--as-of", "1", "--url", server.url, cwd=tmp_path)

    assert done.returncode == 2
    assert "did you mean 'Counter'?" in done.stderr
    assert states(tmp_path) == {"c1": (1, {"value": 1})}


def _delete_at_rest(folder: Path) -> None:
    async def work() -> None:
        store = WalStore(folder / ".goverse")
        await store.open()
        await store.commit([CommitRecord(ObjectKey("default", "Counter", "c1"), 1, 2, None, 1, 5)])
        await store.close()

    asyncio.run(work())


def test_what_cannot_be_restored_is_refused_and_nothing_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    application(tmp_path)
    monkeypatch.chdir(tmp_path)
    with dev(tmp_path, "app.py", "--no-reload") as server:
        for _ in range(3):
            server.increment()
        server.signal(signal.SIGTERM)
        server.wait()
    goverse("snapshot", cwd=tmp_path)
    goverse("trim", "--yes", cwd=tmp_path)

    def told(*arguments: str) -> tuple[int, str]:
        return run(["restore", *arguments]), capsys.readouterr().err

    for arguments, code, complaint in (
        (("Counter", "c1", "--as-of", "1"), 1, "position 1 is not covered"),
        (("Counter", "c1", "--as-of", "99"), 1, "position 99 is not covered"),
        (("Counter", "c1", "--as-of", "2020-01-01T00:00:00Z"), 1, "does not reach back to that time"),
        (("Counter", "c2", "--as-of", "3"), 1, "Counter/c2 did not exist at position 3"),
        (("Counter", "c1", "--as-of", "yesterday"), 2, "--as-of: 'yesterday' is neither a position nor a timestamp"),
        (("Counter", "c1", "--as-of", "yesterday"), 2, "hint: give a commit_seq, for example 4711, or a timestamp"),
        (("Counter", "c1", "--as-of", "9999-12-31T23:59:59-14:00"), 2, "is neither a position nor a timestamp"),
        (("Conter", "c1", "--as-of", "3"), 2, ".goverse has no objects of type 'Conter'; did you mean 'Counter'?"),
        (("Wallet", "c1", "--as-of", "3"), 2, ".goverse has no objects of type 'Wallet'; it has Counter"),
        ((), 2, "goverse restore --into DIRECTORY [--to-seq N | --to-time TIME]"),
        ((), 2, "goverse restore TYPE ID --as-of POINT"),
        (("--to-seq", "1"), 2, "the destination is missing: --into DIRECTORY"),
        (("Counter", "c1"), 2, "--as-of is missing: TYPE ID --as-of POINT"),
        (("Counter", "--as-of", "3"), 2, "the id of the Counter to restore is missing"),
        (("Counter", "c1", "--to-seq", "3"), 2, "use --as-of instead of --to-seq and --to-time"),
        (("Counter", "c1", "--to-time", "2026-01-01", "--as-of", "3"), 2, "use --as-of instead of"),
        (("Counter", "c1", "--as-of", "2240-01-01T00:00:00Z"), 2, "2240-01-01T00:00:00Z is in the future: it is 2"),
        (("Counter", "c1", "--as-of", "2240-01-01T00:00:00Z"), 2, ", and the newest position is 3"),
        (("--into", "x", "--to-time", "2240-01-01T00:00:00Z"), 2, "2240-01-01T00:00:00Z is in the future: it is 2"),
        (("Counter", "c1", "--as-of", "3", "--into", "x"), 2, "one object is restored in place"),
        (("--into", "x", "--as-of", "3"), 2, "--as-of restores one object"),
        (("Counter", "", "--as-of", "3"), 1, "the object id has 0 bytes"),
    ):
        ended, said = told(*arguments)
        assert (ended, complaint in said) == (code, True), (arguments, said)
    assert states(tmp_path) == {"c1": (3, {"value": 3})}


def test_the_time_before_an_object_existed_is_named(tmp_path: Path) -> None:
    application(tmp_path)
    with dev(tmp_path, "app.py", "--no-reload") as server:
        server.increment()
        served = goverse("restore", "Counter", "c1", "--as-of", "2021-01-01T00:00Z", "--url", server.url, cwd=tmp_path)
        future = goverse("restore", "Counter", "c1", "--as-of", "2240-01-01T00:00Z", "--url", server.url, cwd=tmp_path)

    assert served.returncode == 1
    assert "Counter/c1 did not exist at 2021-01-01T00:00:00Z, which is position 0" in served.stderr
    assert future.returncode == 2
    assert "is in the future" in future.stderr
    assert states(tmp_path) == {"c1": (1, {"value": 1})}


def test_the_time_of_a_record_is_accepted_although_the_clock_was_set_back(tmp_path: Path) -> None:
    late_ms = 9_000_000_000_000

    async def work() -> None:
        store = WalStore(tmp_path / ".goverse")
        await store.open()
        await store.commit([CommitRecord(KEY, 0, 1, b'{"value":1}', 1, late_ms)])
        await store.commit([CommitRecord(KEY, 1, 2, b'{"value":2}', 1, late_ms + 60_000)])
        await store.close()

    asyncio.run(work())

    made = goverse("-o", "json", "restore", "Tally", "t", "--as-of", "2255-03-14T16:00:30Z", cwd=tmp_path)

    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["from_version"] == 1


async def test_concurrent_calls_see_the_object_before_or_after_and_none_is_lost() -> None:
    store = MemoryStore()
    await store.open()
    node = Node(Registry([Tally]), store)
    await node.start()

    async def call_it(method: str = "add", patience_s: float = 30.0) -> Reply:
        return await node.submit(Request(Operation.CALL, KEY, method, b"", node.now() + patience_s, "r"))

    await call_it()
    stop, enough, answered = asyncio.Event(), asyncio.Semaphore(0), list[int]()

    async def keep_calling() -> None:
        while not stop.is_set():
            reply = await call_it()
            if reply.problem is None:
                answered.append(int(reply.body))
                enough.release()
            else:
                assert reply.problem.retryable, reply.problem

    callers = [asyncio.create_task(keep_calling()) for _ in range(4)]
    for _ in range(30):
        version, _ = await put_back(node, KEY, b'{"value":1000}', 1, None)
        assert version > 1
        for _ in range(5):
            await asyncio.wait_for(enough.acquire(), 30)
    stop.set()
    await asyncio.gather(*callers)

    stored = store.load(KEY)
    assert stored is not None
    assert json_values.decode(stored.state or b"")["value"] == max(answered[-4:])
    runs = [value for value in answered if value < 1000]
    assert runs == list(range(2, 2 + len(runs)))
    await node.stop(1)


async def test_a_turn_on_the_replaced_state_ends_without_effect() -> None:
    store = MemoryStore()
    await store.open()
    node = Node(Registry([Tally]), store)
    await node.start()
    running = node.submit(Request(Operation.CALL, KEY, "add_later", b"", node.now() + 30, "r"))
    waiting = node.submit(Request(Operation.CALL, KEY, "add", b"", node.now() + 30, "r"))
    await asyncio.sleep(0)

    assert await put_back(node, KEY, b'{"value":5}', 1, None) == (1, 1)

    reply = await running
    assert reply.problem is not None
    assert reply.problem.code != Timeout.code
    assert (await waiting).body == b"6"
    await node.stop(1)
