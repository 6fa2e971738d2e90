"""The removal of receipts in PostgreSQL: beside a late delivery, by several processes, and after a change of shards.

``goverse.testing.forgotten_receipt_contract`` has the rules that all stores share.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from goverse.limits import CLUSTER_SHARDS
from goverse.model.effects import ANY_VERSION, Effects, SentCall
from goverse.model.keys import ObjectKey, placement_hash, shard_at
from goverse.model.receipts import Delivery, Settlement, number_of
from goverse.model.records import CommitRecord
from goverse.ports.store import Conflict
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.verify import verify
from tests.nodes import PATIENCE_S

pytestmark = pytest.mark.requirement("DUR-3")

ORDER, ACCOUNT = ObjectKey("default", "Order", "o1"), ObjectKey("other", "Account", "a1")
SHARD = shard_at(placement_hash(ORDER), CLUSTER_SHARDS)


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    found = PostgresStore(PostgresOptions(dsn=database), owner="n")
    await found.open()
    yield found
    await found.close()


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Any]:
    found = await asyncpg.connect(database)
    yield found
    await found.close()


def only(key: ObjectKey, **parts: Any) -> CommitRecord:
    return CommitRecord(key, ANY_VERSION, ANY_VERSION, None, 1, 0, shard=SHARD, effects=Effects(**parts))


def settles(number: int) -> CommitRecord:
    return only(ACCOUNT, settles=Settlement(Delivery(ORDER, number, 0, number), b"done"))


async def exchange(store: PostgresStore) -> int:
    """Send a call, settle it, and remove it. Returns its number."""
    (seq,) = await store.commit([only(ORDER, sends=(SentCall("c_1", ACCOUNT, "deposit", b"{}"),))])
    assert isinstance(seq, int)
    number = number_of(seq, 0)
    outcomes = await store.commit([settles(number), only(ORDER, removes=(number,))])
    assert all(isinstance(outcome, int) for outcome in outcomes)
    return number


async def test_a_late_delivery_is_refused_that_waits_for_the_removal_of_its_receipt(
    store: PostgresStore, connection: Any
) -> None:
    number = await exchange(store)
    assert await store.forget_receipts() == 0
    async with connection.transaction():
        assert await connection.fetchval("SELECT goverse.forget_receipts('0', 1000)") == 1
        late = asyncio.ensure_future(store.commit([settles(number)]))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        async with asyncio.timeout(PATIENCE_S):
            while not await connection.fetchval(waits):
                assert not late.done()
    (outcome,) = await late
    assert isinstance(outcome, Conflict), "the call would take effect a second time"
    assert await connection.fetchval("SELECT count(*) FROM goverse.receipts") == 0


async def test_processes_share_a_round_and_wait_until_the_next_one(
    database: str, store: PostgresStore, connection: Any
) -> None:
    await exchange(store)
    other = PostgresStore(PostgresOptions(dsn=database), owner="other")
    await other.open()
    assert await other.housekeeping.forget_receipts() == 0
    assert await store.housekeeping.forget_receipts(timedelta(minutes=15)) == 0
    assert await connection.fetchval("SELECT floor FROM goverse.receipt_rounds") == 0
    async with connection.transaction():
        await connection.execute("UPDATE goverse.receipt_rounds SET began = began - interval '15 minutes'")
        assert await connection.fetchval("SELECT goverse.forget_receipts('15 minutes', 1000)") == 1
        assert await other.housekeeping.forget_receipts() == 0, "another process is at it"
    await other.close()


async def test_a_change_of_the_shards_lowers_the_floors(store: PostgresStore, connection: Any) -> None:
    await store.join("here", CLUSTER_SHARDS)
    number = await exchange(store)
    for _ in range(2):
        await store.forget_receipts()
    assert await connection.fetchval("SELECT floor FROM goverse.receipt_rounds") > number
    (seq,) = await store.commit([only(ORDER, sends=(SentCall("c_2", ACCOUNT, "deposit", b"{}"),))])
    assert isinstance(seq, int)
    await store.forget_receipts()
    await store.forget_receipts()
    assert await connection.fetchval("SELECT array_agg(shard) FROM goverse.receipt_floors") == [SHARD]
    assert [each.wrong for each in await verify(connection) if each.check == "receipts"] == [()]
    await connection.execute("UPDATE goverse.cluster SET shards = shards * 2")
    assert await connection.fetchval("SELECT floor FROM goverse.receipt_rounds") == 0
    assert await connection.fetchval("SELECT count(*) FROM goverse.receipt_floors") == 0

    (outcome,) = await store.commit([settles(number_of(seq, 0))])
    assert isinstance(outcome, int), "the pending call is not taken for an old one"
    assert [each.wrong for each in await verify(connection) if each.check == "receipts"] == [()]


async def test_verify_finds_a_pending_call_below_the_floor(store: PostgresStore, connection: Any) -> None:
    await store.join("here", CLUSTER_SHARDS)
    await store.commit([only(ORDER, sends=(SentCall("c_1", ACCOUNT, "deposit", b"{}"),))])
    await connection.execute("UPDATE goverse.receipt_rounds SET floor = 1e30")
    (wrong,) = next(each.wrong for each in await verify(connection) if each.check == "receipts")
    assert wrong.endswith("would be taken for one that was settled long ago")
