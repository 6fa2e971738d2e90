"""Settings of a session: hostile defaults have no effect, and a session that lacks a setting is refused at startup."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from benchmarks.postgres import Server
from goverse.errors import ConfigError, Unavailable
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse.ports.store import Conflict
from goverse_cli import main
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.session import BY_INDEX, SESSION
from goverse_node.stores.postgres.store import PostgresStore
from tests.pgbouncer import pgbouncer

pytestmark = pytest.mark.requirement("DUR-1")

KEY = ObjectKey("default", "Counter", "contested")
HOSTILE = {
    "default_transaction_isolation": "serializable",
    "synchronous_commit": "off",
    "client_min_messages": "error",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "search_path": "evil, pg_catalog",
    "exit_on_error": "on",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "900",
    "idle_session_timeout": "900",
    "statement_timeout": "900",
    "jit": "on",
    "enable_seqscan": "on",
    "plan_cache_mode": "force_custom_plan",
}


async def alter(running: Server, *statements: str) -> None:
    connection = await asyncpg.connect(running.dsn, server_settings={"statement_timeout": "0", "exit_on_error": "off"})
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def shown(running: Server, name: str) -> str:
    connection = await asyncpg.connect(running.dsn)
    try:
        return str(await connection.fetchval(f"SHOW {name}"))
    finally:
        await connection.close()


@pytest.mark.parametrize("whose", ["ROLE postgres", "DATABASE postgres", "ROLE postgres IN DATABASE postgres"])
async def test_a_hostile_default_of_a_role_or_database_has_no_effect(running: Server, whose: str) -> None:
    await alter(running, *(f"ALTER {whose} SET {name} = {value}" for name, value in HOSTILE.items()))
    store = PostgresStore(PostgresOptions(dsn=running.dsn, statement_timeout_s=29.0))
    await store.open()
    (seq,) = await store.commit([CommitRecord(KEY, 0, 1, b"{}", 1, 0)])
    assert isinstance(seq, int)
    for pool_or_writer in (store._connections.pool, store._writer._connection):
        for _ in range(2):  # a connection that was given back to the pool keeps its settings
            rows = dict(await pool_or_writer.fetch("SELECT name, setting FROM pg_settings"))
            wanted = {name: each.value for name, each in SESSION.items() if name in rows}
            if pool_or_writer is not store._connections.pool:
                wanted |= {name: each.value for name, each in BY_INDEX.items()}
            assert {name: rows[name] for name in wanted} == wanted
            assert rows["statement_timeout"] == "29000"
    await store.close()


async def test_commands_work_with_a_role_of_hostile_defaults(running: Server) -> None:
    await alter(running, *(f"ALTER ROLE postgres SET {name} = {value}" for name, value in HOSTILE.items()))
    store = PostgresStore(PostgresOptions(dsn=running.dsn))  # a node makes the partitions that `verify` wants
    await store.open()
    await store.close()
    for command in ("migrate", "status", "verify"):
        assert await asyncio.to_thread(main.run, ["db", command, "--dsn", running.dsn]) == 0


@pytest.mark.requirement("CLU-2")
@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_the_fence_holds_whatever_isolation_the_role_has(running: Server, isolation: str) -> None:
    await alter(running, f"ALTER ROLE postgres SET default_transaction_isolation = '{isolation}'")
    stale, successor = (PostgresStore(PostgresOptions(dsn=running.dsn), owner=name) for name in "ab")
    await stale.open()
    await successor.open()
    epoch = (await stale.claim([7], "a"))[7]
    await stale.commit([CommitRecord(KEY, 0, 1, b"{}", 1, 0, shard=7, epoch=epoch)])
    other = await asyncpg.connect(running.dsn)
    async with other.transaction():  # holds the owner's lock, as a claim does until it commits
        await other.execute("SELECT pg_advisory_xact_lock(71023, owner) FROM goverse.shards WHERE shard = 7")
        late = asyncio.create_task(stale.commit([CommitRecord(KEY, 1, 2, b"{}", 1, 0, shard=7, epoch=epoch)]))
        async with asyncio.timeout(60):
            while not await other.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await other.execute("UPDATE goverse.shards SET epoch = epoch + 1 WHERE shard = 7")
    (outcome,) = await asyncio.wait_for(late, 20)
    assert isinstance(outcome, Conflict)
    assert outcome.fenced
    await other.close()
    await stale.close()
    await successor.close()


@pytest.mark.parametrize("hostile", ["off", "local", "remote_write"])
async def test_a_commit_waits_for_the_standby_whatever_the_role_says(running: Server, hostile: str) -> None:
    await alter(
        running,
        f"ALTER ROLE postgres SET synchronous_commit = {hostile}",
        "ALTER ROLE postgres SET client_min_messages = error",
    )
    store = PostgresStore(PostgresOptions(dsn=running.dsn))
    await store.open()
    await alter(running, "ALTER SYSTEM SET synchronous_standby_names = 'away'", "SELECT pg_reload_conf()")
    committing = asyncio.create_task(store.commit([CommitRecord(KEY, 0, 1, b"{}", 1, 0)]))
    other = await asyncpg.connect(running.dsn)
    async with asyncio.timeout(60):
        cancelled: set[int] = set()
        while len(cancelled) < 2:
            for (pid,) in await other.fetch("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"):
                await other.execute("SELECT pg_cancel_backend($1)", pid)
                cancelled.add(pid)
            assert not committing.done(), "acknowledged, though no standby has it"
            await asyncio.sleep(0.01)
    await other.execute("SET synchronous_commit = off")
    await other.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
    await other.execute("SELECT pg_reload_conf()")
    (seq,) = await asyncio.wait_for(committing, 20)
    assert isinstance(seq, int)
    await other.close()
    await store.close()


@asynccontextmanager
async def changing(running: Server, old: bytes, new: bytes) -> AsyncIterator[str]:
    """Run a proxy that changes a piece of what a client sends; give its data source name."""
    target = urlsplit(running.dsn)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, change: bool) -> None:
        while data := await reader.read(65_536):
            writer.write(data.replace(old, new) if change else data)
            await writer.drain()
        writer.close()

    serving: set[asyncio.Task[object]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        there, back = await asyncio.open_connection(target.hostname, target.port)
        try:
            await asyncio.gather(
                pass_on(reader, back, change=True), pass_on(there, writer, change=False), return_exceptions=True
            )
        finally:  # a writer that is only collected warns, perhaps in another test
            for each in (writer, back):
                each.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
    finally:
        listening.close()
        for each in serving:
            each.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def test_a_setting_that_does_not_take_effect_is_refused_at_startup(running: Server) -> None:
    async with changing(running, b"28765", b"28766") as dsn:
        store = PostgresStore(PostgresOptions(dsn=dsn, statement_timeout_s=28.765))
        with pytest.raises(ConfigError, match="did not take statement_timeout = 28765 and keeps 28766"):
            await store.open()


async def test_a_server_that_does_not_sync_is_refused(running: Server, capsys: pytest.CaptureFixture[str]) -> None:
    await alter(running, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    async with asyncio.timeout(60):
        while await shown(running, "fsync") != "off":  # noqa: ASYNC110  # another process changes it
            await asyncio.sleep(0.01)
    code = await asyncio.to_thread(main.run, ["-o", "json", "db", "status", "--dsn", running.dsn])
    assert code == 2
    assert "fsync = off" in json.loads(capsys.readouterr().err.splitlines()[-1])["detail"]


async def test_session_pooling_works(running: Server) -> None:
    await alter(running, "ALTER ROLE postgres SET synchronous_commit = off")
    with pgbouncer(running, "session") as pooler:
        stores = [PostgresStore(PostgresOptions(dsn=pooler.dsn), owner=name) for name in "ab"]
        for store in stores:
            await store.open()
        assert await stores[0].claim([1], "a") == {1: 1}
        assert await stores[1].claim([1], "b") == {1: 2}
        (refused,) = await stores[0].commit([CommitRecord(KEY, 0, 1, b"{}", 1, 0, shard=1, epoch=1)])
        assert isinstance(refused, Conflict)
        assert isinstance((await stores[1].commit([CommitRecord(KEY, 0, 1, b"{}", 1, 0, shard=1, epoch=2)]))[0], int)
        assert await stores[0].load(KEY) is not None
        assert await stores[1]._writer._connection.fetchval("SHOW synchronous_commit") == "on"
        for store in stores:
            await store.close()
        assert await asyncio.to_thread(main.run, ["db", "verify", "--dsn", pooler.dsn]) == 0


@pytest.mark.parametrize("more", ["", "server_round_robin = 1", "ignore_startup_parameters = extra_float_digits"])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_other_pooling_is_refused_in_one_sentence(
    running: Server, mode: str, more: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pgbouncer(running, mode, more=more) as pooler:
        for _ in range(2):  # also once its servers hold statements of other clients
            code = await asyncio.to_thread(main.run, ["-o", "json", "db", "status", "--dsn", pooler.dsn])
            assert code == 2
            assert "set pool_mode = session" in json.loads(capsys.readouterr().err)["detail"]
        with pytest.raises(ConfigError, match="pool_mode = session"):
            await PostgresStore(PostgresOptions(dsn=pooler.dsn)).open()


async def test_a_pooler_that_changes_its_mode_is_noticed_when_a_node_connects_again(running: Server) -> None:
    with pgbouncer(running, "session") as pooler:
        store = PostgresStore(PostgresOptions(dsn=pooler.dsn, connect_timeout_s=2.0))
        await store.open()
        await store.commit([CommitRecord(KEY, 0, 1, b"{}", 1, 0)])
        port = urlsplit(pooler.dsn).port or 0
        pooler.stop()
    with pgbouncer(running, "transaction", port=port):
        committing = asyncio.create_task(store.commit([CommitRecord(KEY, 1, 2, b"{}", 1, 0)]))
        async with asyncio.timeout(60):
            while "pool_mode" not in store.health().reason:  # a port without an event
                assert not committing.done()
                await asyncio.sleep(0.01)
    with pgbouncer(running, "session", port=port):
        (seq,) = await asyncio.wait_for(committing, 30)
        assert isinstance(seq, int)
        await store.close()


async def test_a_full_pool_is_reported(running: Server) -> None:
    with (
        pgbouncer(running, "session", pool_size=1) as pooler,
        pytest.raises(Unavailable, match="must allow 6 sessions per node"),
    ):
        await PostgresStore(PostgresOptions(dsn=pooler.dsn, connect_timeout_s=1.0)).open()


async def test_a_parameter_that_a_pooler_refuses_is_named(running: Server) -> None:
    with pgbouncer(running, "session") as pooler, pytest.raises(ConfigError, match=r"options.*remove it"):
        await PostgresStore(PostgresOptions(dsn=f"{pooler.dsn}?options=-c%20geqo%3Don")).open()
