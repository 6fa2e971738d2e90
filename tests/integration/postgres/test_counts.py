"""The counts of objects: exact with several writers, over writers that are forgotten, and checked by a recount."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from benchmarks.postgres import Server
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.verify import verify

KIND = ("default", "Counter")


def record(writer: int, number: int, expected: int, *, deletes: bool = False) -> CommitRecord:
    key = ObjectKey(*KIND, f"{writer}-{number}")
    return CommitRecord(key, expected, expected + 1, None if deletes else b"{}", 1, 0)


async def wrong(connection: Any, check: str) -> tuple[str, ...]:
    return next(each.wrong for each in await verify(connection) if each.check == check)


@pytest.mark.requirement("OBS-1")
async def test_objects_are_counted_by_several_writers_and_after_these_were_forgotten(running: Server) -> None:
    stores = [PostgresStore(PostgresOptions(dsn=running.dsn), owner=f"n{n}") for n in range(3)]
    for store in stores:
        await store.open()

    async def write(writer: int) -> None:
        for first in range(0, 40, 10):
            await stores[writer].commit([record(writer, number, 0) for number in range(first, first + 10)])
            await stores[writer].commit([record(writer, first, 1, deletes=True), record(writer, first + 1, 1)])
        await stores[writer].commit([record(writer, 0, 2)])

    connection = await asyncpg.connect(running.dsn)
    try:
        await asyncio.gather(*(write(writer) for writer in range(len(stores))))
        assert await stores[0].living() == {KIND: 3 * 37}
        assert await wrong(connection, "living") == ()
        for store in stores:
            await store.close()
        assert await connection.fetchval("SELECT goverse.forget_writers($1)", timedelta(seconds=-1)) == 3
        assert await connection.fetchval("SELECT array_agg(writer) FROM goverse.living") == [0]

        later = stores[0]
        await later.open()
        assert await later.living() == later.counted == {KIND: 3 * 37}
        await later.commit([record(1, 2, 1, deletes=True)])
        assert await later.living() == {KIND: 3 * 37 - 1}
        assert await wrong(connection, "living") == ()
        await later.close()
    finally:
        await connection.close()


async def test_verify_recounts_the_objects_and_follows_the_links(running: Server) -> None:
    store = PostgresStore(PostgresOptions(dsn=running.dsn), owner="n")
    await store.open()
    connection = await asyncpg.connect(running.dsn)
    try:
        for expected in range(66):
            await store.commit([record(0, 0, expected)])
        assert await wrong(connection, "links") == await wrong(connection, "living") == ()

        await connection.execute("UPDATE goverse.living SET n = n + 1")
        assert await wrong(connection, "living") == ("default/Counter has 1 objects, and 2 are counted",)
        last = await connection.fetchval("SELECT max(base) FROM goverse.changes")
        await connection.execute("UPDATE goverse.changes SET anchor_seq = previous_seq WHERE base = $1", last)
        (found,) = await wrong(connection, "links")
        assert found.startswith("default/Counter/0-0: version 66 points to ")
    finally:
        await connection.close()
        await store.close()
