"""A database that went back in time: a restore under running nodes, and a standby that lagged behind."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from benchmarks.postgres import BINARIES, Server, server
from goverse.errors import Unavailable
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse.ports.store import Conflict
from goverse_node.stores.postgres import vigil
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from tests.cluster_processes import dsn_of
from tests.nodes import until

pytestmark = pytest.mark.requirement("DUR-1", "DUR-2")

SHARD = 7
PATIENCE_S = 30.0


@dataclass
class Node:
    """A store, and how often it was said that the database went back."""

    store: PostgresStore
    name: str
    reverted: int = 0
    versions: dict[str, int] = field(default_factory=dict[str, int])

    def note(self) -> None:
        self.reverted += 1

    async def write(self, name: str, *, shard: int = 0, epoch: int = 0) -> int:
        version = self.versions.get(name, 0)
        key = ObjectKey("default", "Counter", name)
        (seq,) = await self.store.commit(
            [CommitRecord(key, version, version + 1, b"{}", 1, 0, shard=shard, epoch=epoch)]
        )
        assert isinstance(seq, int), seq
        self.versions[name] = version + 1
        return seq

    async def version(self, name: str) -> int:
        found = await self.store.load(ObjectKey("default", "Counter", name))
        return 0 if found is None else found.version


@asynccontextmanager
async def node(dsn: str, name: str) -> AsyncIterator[Node]:
    store = PostgresStore(PostgresOptions(dsn=dsn), owner=name)
    found = Node(store, name)
    store.on_reverted = found.note
    await store.open()
    yield found
    await store.close()


def dump(database: str, folder: Path) -> Path:
    """Write a dump."""
    file = folder / "dump"
    program = str(BINARIES[-1] / "pg_dump")
    subprocess.run(
        [program, "--format=custom", "--schema=goverse", f"--file={file}", database], check=True, timeout=120
    )
    return file


def restore(database: str, file: Path) -> None:
    """Put a dump in the place of the schema, in one transaction, as the guide says."""
    listing = subprocess.run(
        [str(BINARIES[-1] / "pg_restore"), "--schema=goverse", "--file=-", str(file)],
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    ).stdout
    script = f"BEGIN; DROP SCHEMA goverse CASCADE; CREATE SCHEMA goverse;\n{listing}\nCOMMIT;"
    program = str(BINARIES[-1] / "psql")
    command = [program, "--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--output=/dev/null", database]
    subprocess.run(command, check=True, timeout=120, input=script, text=True)


async def generation_of(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return str(await connection.fetchval("SELECT generation FROM goverse.feed"))
    finally:
        await connection.close()


async def test_a_restore_under_running_nodes_is_noticed_without_a_call(database: str, tmp_path: Path) -> None:
    async with node(database, "a") as writing, node(database, "b") as idle:
        await writing.write("x")
        (file, before) = await asyncio.to_thread(dump, database, tmp_path), await generation_of(database)
        last = max([await writing.write("x") for _ in range(3)])
        await asyncio.to_thread(restore, database, file)
        await until(lambda: bool(writing.reverted and idle.reverted))
        await until(lambda: writing.store.health().ready)
        assert await generation_of(database) != before
        writing.versions["x"] = await writing.version("x")
        assert writing.versions["x"] == 1
        assert await writing.write("x") > last, "a position was used twice"


async def test_a_commit_after_a_restore_has_no_effect_and_says_so(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "LOOK_S", 3_600.0)
    async with node(database, "a") as writing:
        await writing.write("x")
        file = await asyncio.to_thread(dump, database, tmp_path)
        await writing.write("x")
        await asyncio.to_thread(restore, database, file)
        with pytest.raises(Unavailable, match="lost acknowledged calls"):
            await writing.write("other")
        assert writing.reverted == 1
        assert await writing.version("other") == 0
        writing.versions["x"] = await writing.version("x")
        await writing.write("x")
        assert writing.reverted == 1


async def test_a_claim_that_the_database_lost_is_noticed(database: str, tmp_path: Path) -> None:
    async with node(database, "a") as first, node(database, "b") as second:
        epoch = (await first.store.claim([SHARD], "a"))[SHARD]
        await first.write("x", shard=SHARD, epoch=epoch)
        connection = await asyncpg.connect(database)
        held = await connection.fetchrow("SELECT epoch, owner FROM goverse.shards")
        await second.store.claim([SHARD], "b")
        await connection.execute("UPDATE goverse.shards SET epoch = $1, owner = $2", *held)
        await connection.close()
        await until(lambda: second.reverted > 0)


async def test_an_epoch_given_twice_lets_only_its_owner_write(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "LOOK_S", 3_600.0)
    async with node(database, "a") as stale, node(database, "b") as owner:
        epoch = (await stale.store.claim([SHARD], "a"))[SHARD]
        connection = await asyncpg.connect(database)
        await connection.execute("DELETE FROM goverse.shards")  # as a standby does that lacks the claim
        await connection.close()
        assert (await owner.store.claim([SHARD], "b"))[SHARD] == epoch
        records = [
            CommitRecord(ObjectKey("default", "Counter", name), 0, 1, b"{}", 1, 0, shard=SHARD, epoch=epoch)
            for name in ("x", "y")
        ]
        for outcome in await stale.store.commit(records):
            assert isinstance(outcome, Conflict)
            assert outcome.fenced
        await owner.write("x", shard=SHARD, epoch=epoch)


async def test_a_standby_that_lagged_behind_is_noticed_and_no_position_is_used_twice(running: Server) -> None:
    with server(Path("/var/tmp"), standby_of=running) as standby:
        async with node(dsn_of(running, standby), "a") as writing:
            await writing.write("x")
            connection = await asyncpg.connect(running.dsn)
            async with asyncio.timeout(PATIENCE_S):
                while not await connection.fetchval(  # noqa: ASYNC110
                    "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn())"
                ):
                    await asyncio.sleep(0.01)
            await connection.close()
            await asyncio.to_thread(standby.stop)
            last = max([await writing.write("x") for _ in range(200)])  # more transactions than the standby will make
            await asyncio.to_thread(running.stop, "immediate")
            await asyncio.to_thread(standby.start)
            await asyncio.to_thread(standby.promote)
            async with asyncio.timeout(PATIENCE_S):
                while not writing.reverted:  # noqa: ASYNC110  # another process changes it
                    await asyncio.sleep(0.01)
            writing.versions["x"] = await writing.version("x")
            assert writing.versions["x"] == 1
            assert await writing.write("x") > last


async def test_a_restore_into_the_same_server_changes_the_generation(database: str, tmp_path: Path) -> None:
    async with node(database, "a") as writing:
        await writing.write("x")
    before = await generation_of(database)
    file = await asyncio.to_thread(dump, database, tmp_path)
    async with node(database, "a"):
        assert await generation_of(database) == before, "a restart changes nothing"
    await asyncio.to_thread(restore, database, file)
    async with node(database, "a") as again:
        assert await generation_of(database) != before
        assert again.reverted == 0
    restored = await generation_of(database)
    async with node(database, "a"):
        assert await generation_of(database) == restored


async def test_rows_put_back_by_hand_change_the_generation(database: str) -> None:
    async with node(database, "a") as writing:
        await writing.write("x")
    before = await generation_of(database)
    connection = await asyncpg.connect(database)
    await connection.execute(
        "CREATE TABLE public.saved AS SELECT * FROM goverse.feed; DELETE FROM goverse.feed; "
        "INSERT INTO goverse.feed SELECT * FROM public.saved"
    )
    await connection.close()
    async with node(database, "a"):
        assert await generation_of(database) != before
