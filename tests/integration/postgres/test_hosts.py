"""A data source name with several hosts, one of which is reachable."""

from __future__ import annotations

import pytest

from benchmarks.postgres import Server
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore


@pytest.mark.parametrize("closed", ["127.0.0.1:1", "127.0.0.1:1,[::1]:1", "[::1]:1,127.0.0.1:1", "[::1]:1,[::1]:2"])
async def test_a_store_opens_by_the_host_that_answers(running: Server, closed: str) -> None:
    store = PostgresStore(PostgresOptions(dsn=running.dsn.replace("@", f"@{closed},")))
    await store.open()
    (seq,) = await store.commit([CommitRecord(ObjectKey("default", "Counter", "c"), 0, 1, b"{}", 1, 0)])

    assert isinstance(seq, int)
    await store.close()
