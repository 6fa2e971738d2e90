"""Commits while another session holds a snapshot open: their own rows cost the same number of pages each time."""

from __future__ import annotations

from typing import Any

import asyncpg

from benchmarks.postgres import Server
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.verify import verify

MEASURED = 100
TOTAL = 1_110
_PAGES = """
SELECT relname, heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read
FROM pg_statio_all_tables WHERE relid IN ('goverse.writers'::regclass, 'goverse.living'::regclass)
"""


async def pages(store: PostgresStore, connection: Any) -> dict[str, int]:
    """Return the pages of the tables that were read so far."""
    await store._writer._connection.fetchval("SELECT pg_stat_force_next_flush()")
    await store._writer._connection.fetchval("SELECT 1")
    return dict(await connection.fetch(_PAGES))


async def create(store: PostgresStore, first: int, count: int) -> None:
    """Commit as many batches, each of which creates an object."""
    for number in range(first, first + count):
        key = ObjectKey("default", "Counter", f"c{number}")
        assert isinstance((await store.commit([CommitRecord(key, 0, 1, b"{}", 1, 0)]))[0], int)


async def cost(store: PostgresStore, connection: Any, first: int) -> dict[str, int]:
    """Return the pages of the tables that ``MEASURED`` batches read."""
    before = await pages(store, connection)
    await create(store, first, MEASURED)
    after = await pages(store, connection)
    return {name: after[name] - before[name] for name in after}


async def test_a_commit_reads_as_many_pages_after_hundreds_of_others(running: Server) -> None:
    store = PostgresStore(PostgresOptions(dsn=running.dsn), owner="n")
    await store.open()
    connection, holder = await asyncpg.connect(running.dsn), await asyncpg.connect(running.dsn)
    try:
        await create(store, 0, 10)
        await holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM goverse.objects")
        await create(store, 10, 400)  # the indexes get their second level
        costs = [await cost(store, connection, 410)]
        await create(store, 510, 500)
        costs.append(await cost(store, connection, 1_010))
        for name, first in costs[0].items():
            assert first > 0, name
            assert costs[1][name] <= first * 1.3, f"{name}: {costs}"

        assert await holder.fetchval("SELECT sum(n) FROM goverse.living") == 10
        await holder.execute("COMMIT")
        for _ in range(2):
            assert await store.living() == {("default", "Counter"): TOTAL}
            await store.housekeeping.measure()
        assert await connection.fetch("SELECT writer, n FROM goverse.living") == [(0, TOTAL)]
        assert [each.wrong for each in await verify(connection) if each.check == "living"] == [()]
    finally:
        await holder.close()
        await connection.close()
        await store.close()
