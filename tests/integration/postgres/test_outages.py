"""Broken connections and server restarts during commits cost time, and have no other effect."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from benchmarks.postgres import Server, server
from goverse.errors import ConfigError, StoreError, Unavailable
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse_node.stores.postgres import schema
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from tests.cluster_processes import dsn_of, following

OBJECTS = 16


PATIENCE_S = 60.0


async def write(store: PostgresStore, stop: asyncio.Event) -> list[int]:
    """Commit batches one after the other, at least one. Returns the version that each object must have."""
    versions = [0] * OBJECTS
    number = 0
    while not versions[0] or not stop.is_set():
        batch: list[CommitRecord] = []
        for index in range(OBJECTS):
            number += 1
            key = ObjectKey("default", "Counter", f"o{index}")
            reply = StoredReply(b"print", b"%d" % number, 2**50)
            batch.append(CommitRecord(key, versions[index], versions[index] + 1, b"{}", 1, 0, f"k{number}", reply))
        outcomes = await store.commit(batch)
        assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
        versions = [version + 1 for version in versions]
    return versions


async def check(store: PostgresStore, versions: list[int]) -> None:
    """Check that the database contains exactly what was acknowledged."""
    for index, version in enumerate(versions):
        found = await store.load(ObjectKey("default", "Counter", f"o{index}"))
        assert found is not None
        assert found.version == version
    changes = await store.changes(0, 1_000_000)
    assert len(changes) == sum(versions)
    assert len({change.commit_seq for change in changes}) == len(changes)


async def until_ready(store: PostgresStore, writing: asyncio.Task[list[int]], ready: bool) -> None:
    """Wait until the store takes commits, or does not, while ``write`` goes on."""
    async with asyncio.timeout(PATIENCE_S):
        while store.health().ready is not ready and not writing.done():  # noqa: ASYNC110  # a port without an event
            await asyncio.sleep(0.01)
    assert not writing.done(), writing.exception()


async def finish(store: PostgresStore, stop: asyncio.Event, writing: asyncio.Task[list[int]]) -> None:
    """End ``write``, and check what it left behind."""
    stop.set()
    versions = await asyncio.wait_for(writing, PATIENCE_S)
    assert min(versions) > 0
    await check(store, versions)
    await store.close()


@pytest.mark.requirement("DUR-1", "DUR-2")
async def test_killed_backends_only_cost_time(database: str) -> None:
    store = PostgresStore(PostgresOptions(dsn=database))
    await store.open()
    stop = asyncio.Event()
    writing = asyncio.create_task(write(store, stop))
    killer = await asyncpg.connect(database)
    for _ in range(40):
        await asyncio.sleep(0.02)
        await killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'goverse' AND pid <> pg_backend_pid()"
        )
    await killer.close()
    await finish(store, stop, writing)


@pytest.mark.requirement("DUR-1", "DUR-2")
async def test_cancelled_statements_only_cost_time(database: str) -> None:
    store = PostgresStore(PostgresOptions(dsn=database))
    await store.open()
    stop = asyncio.Event()
    writing = asyncio.create_task(write(store, stop))
    other = await asyncpg.connect(database)
    cancelled = 0
    async with asyncio.timeout(PATIENCE_S):
        while cancelled < 10:
            committing = await other.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'goverse' AND state = 'active' "
                "AND query LIKE '%commit_batch%'"
            )
            cancelled += committing is not None and await other.fetchval("SELECT pg_cancel_backend($1)", committing)
            await asyncio.sleep(0.01)
    await finish(store, stop, writing)
    await other.close()


@pytest.mark.requirement("DUR-1", "DUR-2")
async def test_a_commit_that_waits_for_a_lock_longer_than_a_statement_may_take_is_tried_again(database: str) -> None:
    store = PostgresStore(PostgresOptions(dsn=database, statement_timeout_s=1.0))
    await store.open()
    other = await asyncpg.connect(database)
    stop = asyncio.Event()
    async with other.transaction():
        await other.execute("LOCK TABLE goverse.objects IN ACCESS EXCLUSIVE MODE")
        writing = asyncio.create_task(write(store, stop))
        await until_ready(store, writing, False)
        assert "canceling statement" in store.health().reason
    await until_ready(store, writing, True)
    await finish(store, stop, writing)
    await other.close()


@pytest.mark.requirement("DUR-1", "DUR-2")
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_of_the_server_only_costs_time(running: Server, mode: str) -> None:
    store = PostgresStore(PostgresOptions(dsn=running.dsn))
    await store.open()
    stop = asyncio.Event()
    writing = asyncio.create_task(write(store, stop))
    for _ in range(2):
        await asyncio.sleep(0.3)
        await asyncio.to_thread(running.stop, mode)
        await until_ready(store, writing, False)
        assert "PostgreSQL" in store.health().reason
        await asyncio.to_thread(running.start)
        await until_ready(store, writing, True)
    await finish(store, stop, writing)


@pytest.mark.requirement("DUR-5")
async def test_a_database_without_our_schema_says_what_to_run(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("DROP SCHEMA goverse CASCADE")
    with pytest.raises(StoreError, match="run `goverse db migrate`"):
        await PostgresStore(PostgresOptions(dsn=database)).open()
    assert await schema.migrate(connection) == ["0001_objects", "0002_calls"]
    assert await schema.migrate(connection) == []
    await connection.execute("UPDATE goverse.migrations SET digest = 'other'")
    with pytest.raises(StoreError, match="0001_objects was applied in another form"):
        await PostgresStore(PostgresOptions(dsn=database)).open()
    await connection.close()


@pytest.mark.requirement("DUR-5")
async def test_a_missing_database_is_a_configuration_error(database: str) -> None:
    with pytest.raises(ConfigError, match="database not found"):
        await PostgresStore(PostgresOptions(dsn=f"{database}-nowhere")).open()


async def _allow_writes(running: Server, allow: bool) -> None:
    """Let the server accept writes, or refuse them like a demoted server or one in maintenance."""
    connection = await asyncpg.connect(running.dsn)
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'off' if allow else 'on'}")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()
    async with asyncio.timeout(PATIENCE_S):
        while await _takes_writes(running) is not allow:  # noqa: ASYNC110  # another process changes it
            await asyncio.sleep(0.01)


async def _takes_writes(running: Server) -> bool:
    connection = await asyncpg.connect(running.dsn)
    try:
        return bool(await connection.fetchval("SHOW default_transaction_read_only") == "off")
    finally:
        await connection.close()


@pytest.mark.requirement("DUR-1", "DUR-2")
async def test_a_server_that_is_read_only_for_a_while_only_costs_time(running: Server) -> None:
    store = PostgresStore(PostgresOptions(dsn=running.dsn), owner="n1")
    await store.open()
    stop = asyncio.Event()
    writing = asyncio.create_task(write(store, stop))
    for _ in range(2):
        await _allow_writes(running, False)
        await until_ready(store, writing, False)
        with pytest.raises(Unavailable):
            await store.claim([1], "n1")
        await _allow_writes(running, True)
        await until_ready(store, writing, True)
        assert set(await store.claim([1], "n1")) == {1}
    await finish(store, stop, writing)


@pytest.mark.requirement("DUR-1")
async def test_of_several_servers_the_writable_one_is_used(running: Server) -> None:
    with server(Path("/var/tmp")) as other:
        await _allow_writes(other, False)
        first, second = (one.dsn.partition("@")[2].partition("/")[0] for one in (other, running))
        store = PostgresStore(PostgresOptions(dsn=running.dsn.replace(second, f"{first},{second}")))
        await store.open()
        stop = asyncio.Event()
        stop.set()
        assert await write(store, stop) == [1] * OBJECTS
        assert await store.claim([1], "n1") == {1: 1}
        await store.close()


@pytest.mark.requirement("DUR-1", "DUR-2")
async def test_a_primary_that_dies_is_replaced_by_its_standby_without_a_loss(running: Server) -> None:
    async with following(running) as standby:
        store = PostgresStore(PostgresOptions(dsn=dsn_of(running, standby)), owner="n1")
        await store.open()
        assert await store.claim([1], "n1") == {1: 1}
        stop = asyncio.Event()
        writing = asyncio.create_task(write(store, stop))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(running.stop, "immediate")
        await until_ready(store, writing, False)
        await asyncio.to_thread(standby.promote)
        await until_ready(store, writing, True)
        await asyncio.sleep(0.5)
        assert await store.claim([1], "n1") == {1: 2}
        await finish(store, stop, writing)


@pytest.mark.requirement("DUR-1")
async def test_a_commit_whose_wait_for_the_standby_was_cancelled_is_not_acknowledged(running: Server) -> None:
    store = PostgresStore(PostgresOptions(dsn=running.dsn))
    await store.open()
    other = await asyncpg.connect(running.dsn)
    await other.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
    await other.execute("SELECT pg_reload_conf()")
    stop = asyncio.Event()
    stop.set()
    record = CommitRecord(ObjectKey("default", "Counter", "o0"), 0, 1, b"{}", 1, 0)
    committing = asyncio.create_task(store.commit([record]))
    cancelled: set[int] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(cancelled) < 3:
            waiting = await other.fetch("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            for (pid,) in waiting:
                await other.execute("SELECT pg_cancel_backend($1)", pid)
                cancelled.add(pid)
            await asyncio.sleep(0.01)
            assert not committing.done(), "acknowledged, though no standby has it"
    await other.execute("SET synchronous_commit = off")
    await other.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
    await other.execute("SELECT pg_reload_conf()")
    outcomes = await asyncio.wait_for(committing, 20)
    assert isinstance(outcomes[0], int)
    await check(store, [1])
    await store.close()
    await other.close()
