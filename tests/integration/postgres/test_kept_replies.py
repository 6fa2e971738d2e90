"""Kept replies in PostgreSQL: readonly calls keep none, and their total size is limited."""

from __future__ import annotations

import asyncpg
import pytest

from goverse import Object, call
from goverse.objects.registry import Registry
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from tests.gated_store import GatedStore
from tests.nodes import Bench, code, problem, value

pytestmark = pytest.mark.requirement("DUR-2")


class Shelf(Object):
    books: int = 0

    @call
    async def put(self) -> int:
        self.books += 1
        return self.books

    @call(readonly=True)
    async def look(self) -> int:
        return self.books

    @call
    async def compare(self, other: str) -> int:
        return await self.ref(Shelf, other).look()


async def test_readonly_calls_leave_no_reply_and_a_full_database_refuses_new_keys(database: str) -> None:
    store = PostgresStore(PostgresOptions(dsn=database, kept_replies_bytes_max=1))
    await store.open()
    b = Bench(Registry([Shelf]), GatedStore(), NodeOptions(), None)
    b.node = Node(b.registry, store)
    await b.node.start()
    store.kept.bytes = 0
    try:
        looked = await b.call(Shelf, "a", "look", idempotency_key="l")
        compared = await b.call(Shelf, "a", "compare", {"other": "b"}, idempotency_key="c")
        put = await b.call(Shelf, "a", "put", idempotency_key="p")
        connection = await asyncpg.connect(database)
        kept = await connection.fetchval("SELECT count(*) FROM goverse.replies")
        await connection.close()
        await store.housekeeping.measure()
        refused = await b.call(Shelf, "a", "put", idempotency_key="new")
        again = await b.call(Shelf, "a", "put", idempotency_key="p")

        assert [value(each) for each in (looked, compared, put)] == [0, 0, 1]
        assert kept == 2
        assert store.kept_bytes > 1
        assert code(refused) == "overloaded"
        assert "postgres.kept_replies_bytes_max" in problem(refused).detail
        assert (again.replayed, value(again)) == (True, 1)
        assert value(await b.call(Shelf, "a", "look", idempotency_key="l")) == 1
        assert value(await b.call(Shelf, "a", "put")) == 2
    finally:
        await b.node.stop(1.0)
        await store.close()
