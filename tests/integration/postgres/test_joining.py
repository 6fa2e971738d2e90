"""The row of the cluster in the database: its name, its number of shards, and the number that it was created with."""

from __future__ import annotations

import asyncpg
import pytest

from benchmarks.postgres import Server
from goverse.errors import ConfigError, DataDamaged
from goverse_node.stores.postgres.load import load
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

pytestmark = [pytest.mark.requirement("CLU-2"), pytest.mark.requirement("OBJ-3")]

LINE = (
    b'{"namespace":"default","type":"Counter","id":"shard#%d/x","version":1,"commit_seq":1,"modified_ms":1,'
    b'"state_version":1,"state":{}}'
)


async def test_the_database_keeps_the_number_of_shards_that_the_cluster_was_created_with(running: Server) -> None:
    store = PostgresStore(PostgresOptions(dsn=running.dsn), owner="n1")
    await store.open()
    assert await store.join("shop", 64) == 64
    connection = await asyncpg.connect(running.dsn)
    await connection.execute("UPDATE goverse.cluster SET shards = 128")
    assert await store.join("shop", 128) == 64
    for name, count, setting in (("shop", 64, "cluster.shards"), ("other", 128, "cluster.name")):
        with pytest.raises(ConfigError) as raised:
            await store.join(name, count)
        assert raised.value.extra["setting"] == setting
    await store.close()

    with pytest.raises(DataDamaged, match="names a shard outside of the cluster's range 0 to 63"):
        await load(connection, lambda _: [LINE % 64], now_ms=1, shards=128, add=False)
    assert (await load(connection, lambda _: [LINE % 63], now_ms=1, shards=128, add=False)).contents.objects == 1
    await connection.close()
