"""Ends of calls in PostgreSQL that the settings keep for less time than when they were committed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, get_args

import asyncpg
import pytest

from goverse.model.call_retention import CallRetention
from goverse.model.effects import ANY_VERSION, CallState, Effects, FinishedCall, SentCall
from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse.ports.outbox import CallFilter
from goverse_node.stores.postgres.expiry import expire
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

pytestmark = pytest.mark.requirement("DUR-3")

ORDER, ACCOUNT = ObjectKey("default", "Order", "o1"), ObjectKey("other", "Account", "a1")
STATES: Sequence[CallState] = get_args(CallState)
DAY_MS, HOUR_S = 86_400_000, 3_600
_COPIES = """
WITH copied AS (
    INSERT INTO goverse.finished_calls
    SELECT day, attempts, finished_ms, expires_ms, sender_kind, receiver_kind, state, convert_to(n::text, 'UTF8'),
        sender_id, receiver_id, content, outcome
    FROM goverse.finished_calls, generate_series(1, $1::integer) AS n
)
INSERT INTO goverse.outbox (shard, part, seq, hash, due_ms, expires_ms, sender_kind, receiver_kind, sender_id,
    receiver_id, content)
SELECT 1, 0, 1, 1, 0, 0, sender_kind, receiver_kind, sender_id, receiver_id, content FROM goverse.finished_calls
"""
SHORT = CallRetention(failed_s=HOUR_S, expired_s=HOUR_S, cancelled_s=0, dead_s=HOUR_S)


def ended(state: CallState, minutes: int) -> FinishedCall:
    """Return the end of a call some minutes ago, which is kept for thirty days."""
    at_ms = time.time_ns() // 1_000_000 - minutes * 60_000
    call = SentCall(f"{state}-{minutes}", ACCOUNT, "deposit", b"{}")
    return FinishedCall(call, ORDER, state, b"why", 3, at_ms, at_ms + 30 * DAY_MS)


async def commit(dsn: str, *ends: FinishedCall) -> None:
    store = PostgresStore(PostgresOptions(dsn=dsn))
    await store.open()
    try:
        record = CommitRecord(ORDER, ANY_VERSION, ANY_VERSION, None, 1, 0, effects=Effects(finished=ends))
        (outcome,) = await store.commit([record])
        assert isinstance(outcome, int)
    finally:
        await store.close()


async def ids_of(connection: Any) -> set[str]:
    return {row["id"].decode() for row in await connection.fetch("SELECT id FROM goverse.finished_calls")}


async def test_shortened_calls_are_hidden_at_once_and_removed_by_housekeeping(database: str) -> None:
    await commit(database, *(ended(state, minutes) for state in STATES for minutes in (10, 90)))
    kept = {"success-10", "success-90", "failed-10", "expired-10", "dead-10"}
    store = PostgresStore(PostgresOptions(dsn=database, call_retention=SHORT))
    await store.open()
    connection = await asyncpg.connect(database)
    try:
        assert {end.call.id for end in await store.finished(CallFilter(), limit=99)} == kept
        assert len(await ids_of(connection)) == 2 * len(STATES)
        assert (await expire(connection, PostgresOptions(dsn=database, call_retention=SHORT), dry_run=True)).calls == 5
        assert (await store.cleanup()).calls == 5
        assert await ids_of(connection) == kept
        assert (await store.cleanup()).calls == 0
    finally:
        await connection.close()
        await store.close()


async def test_a_later_round_of_housekeeping_finds_what_has_passed_its_time_since(database: str) -> None:
    store = PostgresStore(PostgresOptions(dsn=database, call_retention=SHORT))
    await store.open()
    connection = await asyncpg.connect(database)
    try:
        assert (await store.cleanup()).calls == 0
        # written by a node that still has the earlier setting, after the first round
        await commit(database, ended("dead", 61), ended("failed", 59), ended("cancelled", 1))
        assert (await store.cleanup()).calls == 2
        assert await ids_of(connection) == {"failed-59"}
    finally:
        await connection.close()
        await store.close()


async def test_an_interrupted_removal_has_removed_whole_batches_and_can_be_repeated(database: str) -> None:
    await commit(database, ended("dead", 90))
    reports: list[tuple[str, int, int]] = []

    def report(*what: Any) -> None:
        reports.append(what)
        if len(reports) == 2:
            raise KeyboardInterrupt

    connection = await asyncpg.connect(database)
    try:
        await connection.execute(_COPIES, 2_499)
        options = PostgresOptions(dsn=database, call_retention=SHORT)
        assert (await expire(connection, options, dry_run=True)).calls == 2_500
        with pytest.raises(KeyboardInterrupt):
            await expire(connection, options, report=report)
        assert len(await ids_of(connection)) == 500
        assert (await expire(connection, options, report=report)).calls == 500
        assert [done for _, done, _ in reports] == [1_000, 2_000, 500]
        assert await connection.fetchval("SELECT count(*) FROM goverse.outbox") == 1, "the pending call stays"
    finally:
        await connection.close()


async def test_without_limits_housekeeping_removes_no_calls_before_their_time(database: str) -> None:
    await commit(database, ended("dead", 90))
    store = PostgresStore(PostgresOptions(dsn=database))
    await store.open()
    try:
        assert (await store.cleanup()).calls == 0
        assert [end.call.id for end in await store.finished(CallFilter(), limit=9)] == ["dead-90"]
    finally:
        await store.close()
