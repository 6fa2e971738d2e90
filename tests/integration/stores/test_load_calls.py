"""Reliable calls of a dump go on in the database of a cluster."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from goverse.errors import DataDamaged, RestoreRefused
from goverse.limits import CLUSTER_SHARDS
from goverse.model.effects import FinishedCall, Mark
from goverse.model.keys import ObjectKey, placement_hash, shard_at
from goverse.model.receipts import number_of
from goverse.ports.outbox import CallFilter
from goverse.testing.outbox_harness import RECEIVER, SENDER, effects, ended, receipt, sends, sent, settles
from goverse_node.stores.postgres.load import LoadedIntoDatabase
from goverse_node.stores.postgres.load import load as load_into_database
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.verify import verify
from goverse_node.stores.wal.dump import dump
from tests.integration.cli.processes import goverse
from tests.integration.stores.samples import NOW_MS, committed, opened

pytestmark = pytest.mark.requirement("DUR-3", "DUR-9")

DAY_MS = 86_400_000
SHARD = shard_at(placement_hash(SENDER), CLUSTER_SHARDS)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def kept(call_id: str, days: int) -> FinishedCall:
    """Return a finished call that is kept for so many days from now."""
    return FinishedCall(sent(call_id), SENDER, "dead", b"an outcome", 3, NOW_MS, now_ms() + days * DAY_MS)


@pytest.fixture
async def dumped(tmp_path: Path) -> list[str]:
    """Provide the dump of a store with two pending calls, a receipt with two outcomes, and three finished calls."""
    async with opened(tmp_path / "source") as store:
        (seq,) = await committed(store, [sends(sent("c_1"), sent("c_2"), sent("c_3"))])
        one, two, three = (number_of(seq, part) for part in range(3))
        await committed(store, [settles(one), settles(two, prev=one, head=one, outcome=b"two")])
        await committed(store, [effects(removes=(one,), marks=(Mark(three, 3, "cancelled"),))])
        await committed(store, [effects(finished=(kept("kept", 9), kept("long", 900), ended(sent("expired"))))])
    return list(dump(tmp_path / "source", replies=True, tombstones=True, floors=True, calls=True))


@pytest.fixture
async def connection(database: str) -> AsyncGenerator[Any]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def load(connection: Any, lines: Iterable[str], *, add: bool = False, shards: int = 8192) -> LoadedIntoDatabase:
    data = [line.encode() for line in lines]
    return await load_into_database(connection, lambda _: data, now_ms=now_ms(), shards=shards, add=add)


async def test_calls_are_loaded_with_their_numbers_and_go_on(
    database: str, dumped: list[str], connection: Any, tmp_path: Path
) -> None:
    async with opened(tmp_path / "source") as source:
        pending = await source.pending(range(CLUSTER_SHARDS), limit=9)
        outcomes = await receipt(source)
    assert len(pending) == len(outcomes.outcomes) == 2

    text = "\n".join(dumped)
    done = goverse("-o", "json", "load", "-", "--cluster", "--dsn", database, cwd=tmp_path, stdin=text)

    assert done.returncode == 0, done.stderr
    counts = {"pending_calls": 2, "receipts": 1, "finished_calls": 3, "calls_left_out": 1}
    shown = json.loads(done.stdout)
    assert {name: shown[name] for name in counts} == counts
    store = PostgresStore(PostgresOptions(dsn=database), owner="n1")
    await store.open()
    try:
        found = await store.pending([SHARD], limit=9)
        assert found == [each._replace(shard=SHARD) for each in pending]
        assert await receipt(store) == outcomes
        ends = await store.finished(CallFilter(), limit=9)
        assert {(end.call.id, end.state, end.outcome) for end in ends} == {
            ("kept", "dead", b"an outcome"),
            ("long", "dead", b"an outcome"),
        }
        last = found[1]
        [settled, removed, again] = await store.commit(
            [
                settles(last.number, prev=outcomes.last, head=last.number),
                effects(SENDER, SHARD, removes=tuple(each.number for each in found)),
                sends(sent("c_4"), shard=SHARD),
            ]
        )
        assert all(isinstance(each, int) for each in (settled, removed, again))
        assert (await receipt(store)).outcomes == {last.number: b"done"}
        [after] = await store.pending([SHARD], limit=9)
        assert (after.call.id, after.number > last.number) == ("c_4", True)
    finally:
        await store.close()
    assert [(each.check, each.wrong) for each in await verify(connection) if each.wrong] == []


async def test_the_counts_of_calls_are_shown_only_if_there_are_any(
    database: str, dumped: list[str], tmp_path: Path
) -> None:
    text = "\n".join(dumped)
    with_calls = goverse("load", "-", "--cluster", "--dsn", database, cwd=tmp_path, stdin=text)
    assert (
        "loaded 0 objects, 0 deleted objects and 0 stored answers to idempotency keys, and 2 pending reliable calls, 1 "
        "receipts and 3 finished calls (1 of them had expired and were left out) into the database" in with_calls.stdout
    )
    into = goverse("load", "-", "--into", "target", cwd=tmp_path, stdin=text)
    assert "2 pending reliable calls, 1 receipts and 3 finished calls; serve them" in into.stdout
    none = goverse("load", "-", "--into", "empty", cwd=tmp_path, stdin="\n")
    assert "0 stored answers to idempotency keys; serve them" in none.stdout


async def test_loaded_calls_get_the_shards_of_the_cluster_that_is_created_later(
    dumped: list[str], connection: Any
) -> None:
    await load(connection, dumped)
    assert {row[0] for row in await connection.fetch("SELECT shard FROM goverse.outbox")} == {SHARD}

    await connection.execute("INSERT INTO goverse.cluster (name, shards, base) VALUES ('shop', 64, 64)")

    place = shard_at(placement_hash(SENDER), 64)
    assert {row[0] for row in await connection.fetch("SELECT shard FROM goverse.outbox")} == {place}


@pytest.mark.parametrize("what", ['"pending"', '"receipt"', '"state":"dead"'])
async def test_calls_that_the_database_contains_are_refused(dumped: list[str], connection: Any, what: str) -> None:
    lines = [line for line in dumped if what in line]
    await load(connection, lines)
    with pytest.raises(RestoreRefused, match="the database is not empty"):
        await load(connection, lines)
    with pytest.raises(RestoreRefused, match=f"already contains reliable calls of the dump: default/{SENDER}"):
        await load(connection, lines, add=True)


@pytest.mark.parametrize("owner", [SENDER, RECEIVER])
async def test_a_call_whose_objects_cannot_be_in_the_cluster_is_refused(
    dumped: list[str], connection: Any, owner: ObjectKey
) -> None:
    lines = [line.replace(f'"{owner.id}"', '"shard#64/x"') for line in dumped]
    with pytest.raises(DataDamaged, match="shard#64/x names a shard outside of the cluster's range 0 to 63"):
        await load(connection, lines, shards=64)
    assert await connection.fetchval("SELECT count(*) FROM goverse.outbox") == 0
