"""Daily partitions: rows without one do not block later partitions, and are removed when they expire."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from goverse.errors import CursorExpired, GoverseError
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord, StoredReply
from goverse_node.stores.postgres.housekeeping import DAYS_AHEAD
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.verify import verify

pytestmark = pytest.mark.requirement("DUR-1", "DUR-5")

DAY_S = 86_400
KEY = ObjectKey("default", "Counter", "c")
EMPTY_COLUMNS = ", '{}'" * 11  # of goverse.changes, behind day, base and last


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Any]:
    found = await asyncpg.connect(database)
    yield found
    await found.close()


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(PostgresOptions(dsn=database))
    await opened.open()
    yield opened
    await opened.close()


async def commit(store: PostgresStore, version: int) -> int:
    """Write a change and a reply; return the position."""
    at_ms = time.time_ns() // 1_000_000
    reply = StoredReply(b"print", b"reply", at_ms + DAY_S * 1000)
    (seq,) = await store.commit([CommitRecord(KEY, version, version + 1, b"{}", 1, at_ms, f"k{version}", reply)])
    assert isinstance(seq, int), seq
    return seq


async def days_of(connection: Any, parent: str) -> set[int]:
    """Return the days that have a partition, counted from today."""
    today = await connection.fetchval("SELECT goverse.today()")
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'goverse'")
    names = [row[0] for row in rows if row[0].startswith(f"{parent}_")]
    return {int(name.rpartition("_")[2]) - today for name in names if name.rpartition("_")[2].isdigit()}


async def drop_days(connection: Any) -> None:
    for parent in ("changes", "replies"):
        for day in await days_of(connection, parent):
            await connection.execute(f"DROP TABLE goverse.{parent}_{day + int(time.time()) // DAY_S}")


async def wrong(connection: Any) -> list[str]:
    return [each for finding in await verify(connection) for each in finding.wrong]


async def test_rows_of_a_day_without_partition_move_into_it(store: PostgresStore, connection: Any) -> None:
    await drop_days(connection)
    seqs = [await commit(store, version) for version in (0, 1)]
    assert await connection.fetchval("SELECT count(*) FROM goverse.changes_rest") == 2

    await store.housekeeping.prepare()
    for parent in ("changes", "replies"):
        assert await days_of(connection, parent) == set(range(DAYS_AHEAD + 1))
        assert await connection.fetchval(f"SELECT count(*) FROM goverse.{parent}_rest") == 0
    assert [change.commit_seq for change in await store.changes(0, 10)] == seqs
    assert await store.recall(KEY, "k1") is not None
    await commit(store, 2)
    assert await connection.fetchval("SELECT count(*) FROM goverse.changes_rest") == 0
    assert await wrong(connection) == []


@pytest.mark.parametrize("ahead", [0, 1, 30])
async def test_a_clock_that_jumped_leaves_rows_that_spoil_no_day(
    store: PostgresStore, connection: Any, ahead: int
) -> None:
    if ahead != 30:
        await drop_days(connection)
    await commit(store, 0)
    for parent in ("changes", "replies"):
        await connection.execute(f"UPDATE goverse.{parent} SET day = day + {ahead}")
        assert await connection.fetchval(f"SELECT count(*) FROM goverse.{parent}_rest") == 1
    await commit(store, 1)
    await store.housekeeping.prepare()
    assert set(range(DAYS_AHEAD + 1)) <= await days_of(connection, "changes")
    assert len(await store.changes(0, 10)) == 2
    assert [await store.recall(KEY, name) is not None for name in ("k0", "k1")] == [True, True]
    assert await wrong(connection) == []


async def test_a_partition_that_cannot_be_created_does_not_prevent_others(
    store: PostgresStore, connection: Any
) -> None:
    await drop_days(connection)
    await commit(store, 0)
    await connection.execute(
        "CREATE FUNCTION goverse.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; "
        "CREATE TRIGGER refuse BEFORE DELETE ON goverse.changes_rest FOR EACH ROW EXECUTE FUNCTION goverse.refuse()"
    )
    with pytest.raises(GoverseError):
        await store.housekeeping.prepare()
    assert await days_of(connection, "changes") == set(range(1, DAYS_AHEAD + 1))
    assert await days_of(connection, "replies") == set(range(DAYS_AHEAD + 1))
    await commit(store, 1)
    await connection.execute("DROP FUNCTION goverse.refuse() CASCADE")
    await store.housekeeping.prepare()
    assert await days_of(connection, "changes") == set(range(DAYS_AHEAD + 1))
    assert len(await store.changes(0, 10)) == 2


async def test_more_rows_than_can_be_moved_at_once_stay_and_go_with_their_day(
    store: PostgresStore, connection: Any
) -> None:
    await drop_days(connection)
    last = await commit(store, 0)
    await connection.execute(
        f"INSERT INTO goverse.changes SELECT goverse.today(), -n, -n{EMPTY_COLUMNS} FROM generate_series(1, 100000) n"
    )
    await store.housekeeping.prepare()
    assert await days_of(connection, "changes") == set(range(1, DAYS_AHEAD + 1))
    assert len(await store.changes(0, 10)) == 1

    await connection.execute("UPDATE goverse.changes_rest SET day = day - 30")
    expired = await store.housekeeping.cleanup()
    assert expired.changes == 100_001
    with pytest.raises(CursorExpired) as told:
        await store.changes(0, 10)
    assert told.value.extra["oldest"] == str(last)
    assert await store.changes(last, 10) == []
    await store.housekeeping.prepare()
    assert await days_of(connection, "changes") == set(range(DAYS_AHEAD + 1))


async def test_the_feed_can_be_switched_off_and_on_for_all_nodes(database: str, connection: Any) -> None:
    def store_with(days: int) -> PostgresStore:
        return PostgresStore(PostgresOptions(dsn=database, changes_retention_days=days))

    keeping = store_with(7)
    await keeping.open()
    first = await commit(keeping, 0)
    without = store_with(0)
    await without.open()
    await commit(without, 1)
    await commit(keeping, 2)
    await without.housekeeping.cleanup()
    assert await connection.fetchval("SELECT count(*) FROM goverse.changes") == 0
    assert await days_of(connection, "changes") == set()
    with pytest.raises(CursorExpired):
        await without.changes(first, 10)
    assert await wrong(connection) == []
    await without.housekeeping.prepare()
    assert await days_of(connection, "changes") == set()

    again = store_with(7)
    await again.open()
    await without.housekeeping.cleanup()
    assert await days_of(connection, "changes") == set(range(DAYS_AHEAD + 1)), (
        "one that keeps none drops none of others"
    )
    last = await commit(without, 3)
    trimmed = await connection.fetchval("SELECT trimmed_seq FROM goverse.feed")
    assert [change.commit_seq for change in await again.changes(trimmed, 10)] == [last]
    assert await wrong(connection) == []
    for store in (keeping, without, again):
        await store.close()


async def test_the_rows_of_processes_that_ended_go_and_no_position_is_used_again(
    database: str, store: PostgresStore, connection: Any
) -> None:
    last = await commit(store, 0)
    await connection.execute("UPDATE goverse.writers SET seen = seen - interval '31 days'")
    await connection.execute("TRUNCATE goverse.changes")
    second = PostgresStore(PostgresOptions(dsn=database))
    await second.open()
    await second.housekeeping.cleanup()
    assert await connection.fetchval("SELECT count(*) FROM goverse.writers") == 1
    assert await commit(second, 1) > last
    await connection.execute("UPDATE goverse.feed SET newest_seq = newest_seq + (1::bigint << 40)")
    third = PostgresStore(PostgresOptions(dsn=database))
    await third.open()
    assert await commit(third, 2) > last + (1 << 40)
    await second.close()
    await third.close()
