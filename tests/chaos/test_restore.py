"""A cluster whose database was destroyed is restored from a dump, with every call that the dump contains.

It uses the commands of the chart's CronJob and of `python3 -m scripts.operate restore`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import asyncpg
import httpx
import pytest

from benchmarks.postgres import BINARIES
from scripts.operate.restoring import RESTORE
from tests.cluster_processes import PATIENCE_S, Processes, Shape, cluster

OBJECTS = 40


def _program(name: str, *arguments: str, **variables: str) -> None:
    path = f"{BINARIES[-1]}:{os.environ['PATH']}"
    done = subprocess.run(
        [name, *arguments],
        env={**os.environ, "PATH": path, "PGCONNECT_TIMEOUT": "10", **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def _call(processes: Processes, number: int, key: str) -> httpx.Response:
    async with processes.client(30.0) as client:
        url = f"{processes.url}/objects/Counter/r{number}/call/increment"
        answer = await client.post(url, headers={"idempotency-key": key})
    assert answer.status_code == 200, answer.text
    return answer


async def _end_all(processes: Processes) -> None:
    for name in [*processes.gates, *processes.nodes]:
        await processes.end(name, signal.SIGTERM)


async def _start_all(processes: Processes) -> None:
    for name in ("n1", "n2"):
        processes.start_node(name)
    processes.start_gate()
    await processes.ready()


async def _destroy(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("DROP SCHEMA goverse CASCADE")
    await connection.close()


@pytest.mark.chaos
@pytest.mark.requirement("OPS-6", "DUR-2")
@pytest.mark.parametrize("later", [False, True], ids=["dumped last", "dumped before further calls and moves"])
async def test_a_destroyed_database_is_restored_from_its_dump(tmp_path: Path, later: bool) -> None:
    dump = str(tmp_path / "postgres.partial")
    async with cluster(tmp_path, Shape(nodes=2, shards=64)) as processes:
        dsn = processes.postgres.dsn
        first = [await _call(processes, number, f"k{number}") for number in range(OBJECTS)]
        await asyncio.to_thread(
            _program, "pg_dump", "--format=custom", "--no-password", f"--file={dump}", f"--dbname={dsn}"
        )
        if later:  # calls that the dump does not contain, and epochs newer than those in it
            for number in range(OBJECTS):
                await _call(processes, number, f"later-{number}")
            await processes.end("n2", signal.SIGKILL)
            await processes.ready()
            processes.start_node("n2")
            await processes.ready()
        await _end_all(processes)
        if not later:
            await _destroy(dsn)
        await asyncio.to_thread(_program, "bash", "-c", RESTORE, DSN=dsn, DUMP=dump)
        assert "ok" in processes.command("db", "verify")
        await _start_all(processes)

        for number, before in enumerate(first):
            again = await _call(processes, number, f"k{number}")
            assert (again.content, again.headers["etag"]) == (before.content, before.headers["etag"])
            assert again.headers["idempotency-replayed"] == "true"
        fresh = [await _call(processes, number, f"fresh-{number}") for number in range(OBJECTS)]
        assert [answer.text for answer in fresh] == ["2"] * OBJECTS
        newest = max(int(answer.headers["goverse-commit-seq"]) for answer in first)
        assert all(int(answer.headers["goverse-commit-seq"]) > newest for answer in fresh)


@pytest.mark.chaos
@pytest.mark.requirement("DUR-1", "DUR-2")
async def test_a_restore_under_running_nodes_is_noticed_by_all_of_them(tmp_path: Path) -> None:
    dump = str(tmp_path / "postgres.partial")
    async with cluster(tmp_path, Shape(nodes=2, shards=64)) as processes:
        dsn = processes.postgres.dsn
        for number in range(OBJECTS):
            await _call(processes, number, f"k{number}")
        await asyncio.to_thread(
            _program, "pg_dump", "--format=custom", "--no-password", f"--file={dump}", f"--dbname={dsn}"
        )
        later = [await _call(processes, number, f"later-{number}") for number in range(OBJECTS)]
        assert [answer.text for answer in later] == ["2"] * OBJECTS
        await asyncio.to_thread(_program, "bash", "-c", RESTORE, DSN=dsn, DUMP=dump)
        async with asyncio.timeout(PATIENCE_S):
            while any("lost acknowledged calls" not in processes.log(name) for name in processes.nodes):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for number in range(OBJECTS):
            again = await _call(processes, number, f"k{number}")
            assert again.headers["idempotency-replayed"] == "true"
        fresh = [await _call(processes, number, f"fresh-{number}") for number in range(OBJECTS)]
        assert [answer.text for answer in fresh] == ["2"] * OBJECTS
        newest = max(int(answer.headers["goverse-commit-seq"]) for answer in later)
        assert all(int(answer.headers["goverse-commit-seq"]) > newest for answer in fresh)
        assert "ok" in processes.command("db", "verify")
