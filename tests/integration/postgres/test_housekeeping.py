"""Housekeeping during a long read transaction such as ``pg_dump``: partitions have to wait, calls do not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from goverse.errors import Unavailable
from goverse.model.keys import ObjectKey, router_key
from goverse.model.records import CommitRecord, StoredReply
from goverse_node.stores.postgres.housekeeping import DAYS_AHEAD
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

pytestmark = pytest.mark.requirement("DUR-1", "DUR-5")

DAY_S = 86_400
KEY = ObjectKey("default", "Counter", "c")
ROUTER = "0123456789abcdef"
PATIENCE_S = 20.0  # below the timeout of a statement: an operation that waits for the dump fails


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    """An open store."""
    opened = PostgresStore(PostgresOptions(dsn=database))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def dump(database: str, store: PostgresStore) -> AsyncIterator[Any]:
    """A connection with an open transaction that has read all tables."""
    today = int(time.time()) // DAY_S
    connection = await asyncpg.connect(database)
    await connection.execute(
        f"CREATE TABLE goverse.changes_{today - 30} PARTITION OF goverse.changes "
        f"FOR VALUES FROM ({today - 30}) TO ({today - 29})"
    )
    for parent in ("changes", "replies"):
        await connection.execute(f"DROP TABLE goverse.{parent}_{today + DAYS_AHEAD}")
    await connection.execute(
        "INSERT INTO goverse.router_replies "
        "SELECT slot, 'r', 1, 1, 1, 1, '{}', '{}', '{}' FROM generate_series(0, 3) AS slot"
    )
    await connection.execute("BEGIN")
    tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'goverse'"
    for row in await connection.fetch(tables):
        await connection.execute(f"LOCK TABLE {row[0]} IN ACCESS SHARE MODE")
    yield connection
    await connection.close()


async def work(store: PostgresStore, stop: asyncio.Event) -> int:
    """Commit and recall replies until ``stop`` is set; return the number of commits."""
    times = 0
    while not stop.is_set():
        reply = StoredReply(b"", b"reply", 2**50)
        name = router_key(ROUTER, times + 1)
        assert await asyncio.wait_for(store.recall(KEY, name), PATIENCE_S) is None
        record = CommitRecord(KEY, times, times + 1, b"{}", 1, 0, name, reply)
        outcomes = await asyncio.wait_for(store.commit([record]), PATIENCE_S)
        assert isinstance(outcomes[0], int), outcomes
        times += 1
    return times


async def test_calls_go_on_while_partitions_wait_for_a_dump(store: PostgresStore, dump: Any) -> None:
    stop = asyncio.Event()
    working = asyncio.create_task(work(store, stop))
    house = store.housekeeping
    for task in (house.prepare, house.cleanup, house.forget):
        with pytest.raises(Unavailable):
            await task()
        assert not working.done(), working.exception()
    stop.set()
    assert await working > 0

    await dump.execute("COMMIT")
    await house.prepare()
    await house.forget()
    expired = await house.cleanup()
    assert len(expired.days) == 1
    assert await store.recall(KEY, router_key(ROUTER, 1)) is not None


async def test_a_node_starts_while_partitions_wait_for_a_dump(database: str, dump: Any) -> None:
    store = PostgresStore(PostgresOptions(dsn=database))
    await asyncio.wait_for(store.open(), PATIENCE_S)
    assert store.health().ready
    await store.close()
