"""A data source name with several hosts, one of which is reachable."""

from __future__ import annotations

import pytest

from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore


@pytest.mark.parametrize("closed", ["127.0.0.1:1", "127.0.0.1:1,[::1]:1", "[::1]:1,127.0.0.1:1", "[::1]:1,[::1]:2"])
async def test_a_store_opens_by_the_host_that_answers(database: str, closed: str) -> None:
    store = PostgresStore(PostgresOptions(dsn=database.replace("@", f"@{closed},")))
    await store.open()
    (seq,) = await store.commit([CommitRecord(ObjectKey("default", "Counter", "c"), 0, 1, b"{}", 1, 0)])

    assert isinstance(seq, int)
    await store.close()
