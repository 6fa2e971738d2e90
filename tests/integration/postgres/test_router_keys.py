"""Replies under keys that routers generated: stored per batch, found by number, removed in turns, never twice."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from goverse.model.keys import DERIVED_KEY_PREFIX, ObjectKey, router_key
from goverse.model.records import CommitRecord, StoredReply
from goverse.ports.clock import ManualClock
from goverse.ports.store import Conflict
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

ROUTER, OTHER = "0123456789abcdef", "fedcba9876543210"
FAR = 2**50


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Any]:
    found = await asyncpg.connect(database)
    yield found
    await found.close()


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    found = PostgresStore(PostgresOptions(dsn=database))
    await found.open()
    yield found
    await found.close()


def record(number: int, *, router: str = ROUTER, version: int = 0, fresh: bool = True) -> CommitRecord:
    """A change of an object of its own under a router's key."""
    kept = StoredReply(b"", b"reply %d" % number, FAR)
    key = ObjectKey("default", "Counter", f"{router}{number}")
    return CommitRecord(key, version, version + 1, b"{}", 1, 0, router_key(router, number), kept, fresh_key=fresh)


async def recalled(store: PostgresStore, number: int, router: str = ROUTER) -> bytes | None:
    found = await store.recall(ObjectKey("default", "Counter", f"{router}{number}"), router_key(router, number))
    return None if found is None else found.reply


@pytest.mark.requirement("DUR-2")
async def test_every_reply_of_a_batch_of_several_routers_is_found(store: PostgresStore) -> None:
    batch = [record(number, router=router) for number in (7, 3, 12) for router in (ROUTER, OTHER)]
    positions = await store.commit(batch)

    for made, position in zip(batch, positions, strict=True):
        found = await store.recall(made.key, made.idempotency_key or "")
        assert found is not None
        assert made.reply is not None
        assert (found.reply, found.commit_seq) == (made.reply.reply, position)
    assert await recalled(store, 5) is None
    assert await recalled(store, 3, "0" * 16) is None


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("company", [0, 1], ids=["alone", "beside a conflict"])
async def test_a_first_attempt_that_arrives_after_its_retry_has_no_effect(store: PostgresStore, company: int) -> None:
    conflicting = [record(99, version=4)] * company
    assert await store.commit([*conflicting, record(1, fresh=False)])

    late = await store.commit([*conflicting, record(1, version=1)])

    assert isinstance(late[-1], Conflict)
    found = await store.load(record(1).key)
    assert found is not None
    assert found.version == 1
    assert await recalled(store, 1) == b"reply 1"


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("company", [0, 1], ids=["alone", "beside a conflict"])
async def test_a_retry_of_a_committed_call_has_no_effect(store: PostgresStore, company: int) -> None:
    conflicting = [record(99, version=4)] * company
    assert await store.commit([*conflicting, record(1)])

    again = await store.commit([*conflicting, record(1, version=1, fresh=False)])

    assert isinstance(again[-1], Conflict)
    found = await store.load(record(1).key)
    assert found is not None
    assert found.version == 1


@pytest.mark.requirement("DUR-2")
async def test_replies_are_forgotten_when_their_part_is_the_next_to_be_written(
    store: PostgresStore, connection: Any
) -> None:
    await store.commit([record(1)])
    for later in range(1, 4):
        await connection.execute(
            "CREATE OR REPLACE FUNCTION goverse.slot(p_later integer) RETURNS integer LANGUAGE sql STABLE AS "
            f"$$ SELECT (floor(extract(epoch FROM now()) / 600)::bigint + p_later + {later})::integer & 3 $$"
        )
        await connection.execute("SELECT goverse.forget_router_replies()")
        assert (await recalled(store, 1) is None) == (later == 3)


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("hours", [-2, 2, 48], ids=["two hours behind", "two hours ahead", "two days ahead"])
async def test_a_node_whose_clock_is_wrong_forgets_nothing(store: PostgresStore, database: str, hours: int) -> None:
    wrong = ManualClock(wall_ms=time.time_ns() // 1_000_000 + hours * 3_600_000)
    other = PostgresStore(PostgresOptions(dsn=database), clock=wrong)
    await other.open()
    for writer, reader, now_ms in (
        (store, other, time.time_ns() // 1_000_000),
        (other, store, wrong.wall_ms()),
    ):
        number = now_ms % 2**32
        made = replace(record(number, fresh=False), reply=StoredReply(b"", b"kept", now_ms + 900_000))
        kept_a_day = StoredReply(b"", b"kept", now_ms + 86_400_000)
        chosen = replace(record(number + 1), idempotency_key=f"chosen-{number}", reply=kept_a_day)
        assert all(isinstance(seq, int) for seq in await writer.commit([made, chosen]))
        await other.housekeeping.forget()

        for kept in (made, chosen):
            found = await reader.recall(kept.key, kept.idempotency_key or "")
            assert found is not None
            assert found.reply == b"kept"
            again = await reader.commit([replace(kept, expected=1, version=2)])
            assert isinstance(again[0], Conflict)
        late = await reader.commit([replace(made, expected=1, version=2, fresh_key=True)])
        assert isinstance(late[0], Conflict)
    await other.close()


def derived(number: int, *, version: int = 0) -> CommitRecord:
    """A change under a key that was derived from a router's key, as a nested call has."""
    made = record(number, version=version, fresh=False)
    return replace(made, idempotency_key=f"{DERIVED_KEY_PREFIX}{number:032x}")


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("company", [0, 1], ids=["alone", "beside a conflict"])
async def test_a_reply_under_a_derived_key_lives_in_parts_that_are_emptied_by_turns(
    store: PostgresStore, connection: Any, company: int
) -> None:
    conflicting = [record(99, version=4)] * company
    made = derived(1)
    (*_, seq) = await store.commit([*conflicting, made])
    found = await store.recall(made.key, made.idempotency_key or "")
    assert found is not None
    assert (found.reply, found.commit_seq) == (b"reply 1", seq)
    (*_, again) = await store.commit([*conflicting, derived(1, version=1)])
    assert isinstance(again, Conflict)
    assert await connection.fetchval("SELECT count(*) FROM goverse.replies") == 0
    for later in range(1, 4):
        await connection.execute(
            "CREATE OR REPLACE FUNCTION goverse.slot(p_later integer) RETURNS integer LANGUAGE sql STABLE AS "
            f"$$ SELECT (floor(extract(epoch FROM now()) / 600)::bigint + p_later + {later})::integer & 3 $$"
        )
        await store.housekeeping.forget()
        kept = await connection.fetchval("SELECT count(*) FROM goverse.brief_replies")
        assert (kept == 0) == (later == 3)
    assert await store.recall(made.key, made.idempotency_key or "") is None


@pytest.mark.requirement("DUR-2")
@pytest.mark.parametrize("hours", [25, -30 * 24], ids=["a day ahead", "a month behind"])
async def test_a_step_of_a_nodes_clock_forgets_no_key(store: PostgresStore, database: str, hours: int) -> None:
    clock = ManualClock(wall_ms=time.time_ns() // 1_000_000)
    stepping = PostgresStore(PostgresOptions(dsn=database), clock=clock)
    await stepping.open()

    def made(number: int) -> list[CommitRecord]:
        at_ms = clock.wall_ms()
        kept = StoredReply(b"", b"kept", at_ms + 86_400_000)
        chosen = replace(record(number, fresh=False), idempotency_key=f"chosen-{number}", reply=kept, at_ms=at_ms)
        return [chosen, *(replace(each, reply=kept, at_ms=at_ms) for each in (record(number + 1), derived(number + 2)))]

    before = made(10)
    assert all(isinstance(seq, int) for seq in await stepping.commit(before))
    clock.set_wall_ms(clock.wall_ms() + hours * 3_600_000)
    after = made(20)
    assert all(isinstance(seq, int) for seq in await stepping.commit(after))
    for reader in (stepping, store):
        for kept in (*before, *after):
            assert await reader.recall(kept.key, kept.idempotency_key or "") is not None
            again = replace(kept, expected=1, version=2, fresh_key=False)
            assert isinstance((await reader.commit([again]))[0], Conflict)
    await stepping.close()
