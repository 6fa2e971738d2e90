"""A turn that sends as many reliable calls as one may, on PostgreSQL."""

from __future__ import annotations

import asyncpg
import pytest

from goverse.model.receipts import SENDS_MAX
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.verify import verify
from tests.integration.fan_out import check_fan_out


@pytest.mark.requirement("DUR-3")
async def test_a_turn_sends_ten_thousand_calls_or_none(database: str) -> None:
    store = PostgresStore(PostgresOptions(dsn=database))
    await store.open()
    try:
        await check_fan_out(store, SENDS_MAX)
    finally:
        await store.close()
    connection = await asyncpg.connect(database)
    assert [row for finding in await verify(connection) for row in finding.wrong] == []
    assert await connection.fetchval("SELECT count(*) FROM goverse.finished_calls") == 0
    await connection.close()
