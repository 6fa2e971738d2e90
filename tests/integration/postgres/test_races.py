"""Races of a stale owner with its successor: after a claim has returned, no commit of an old epoch becomes durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse.ports.store import Conflict
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

RACES = 1_000
SHARD = 7
KEY = ObjectKey("default", "Counter", "contested")


@pytest.fixture
async def stores(database: str) -> AsyncIterator[list[PostgresStore]]:
    """Three nodes over one database."""
    found = [PostgresStore(PostgresOptions(dsn=database), owner=name) for name in ("a", "b", "c")]
    for store in found:
        await store.open()
    yield found
    for store in found:
        await store.close()


@pytest.mark.requirement("CLU-2")
async def test_a_thousand_races_let_no_stale_write_through(stores: list[PostgresStore]) -> None:
    version, owner = 0, 0
    epoch = (await stores[owner].claim([SHARD], "a"))[SHARD]
    won = lost = 0
    for race in range(RACES):
        writer, claimer = stores[owner], (owner + 1 + race % 2) % 3
        write = asyncio.create_task(writer.commit([_record(version, epoch)]))
        for _ in range(race % 5):  # the claim begins a little earlier or later
            await asyncio.sleep(0)
        newer = (await stores[claimer].claim([SHARD], "abc"[claimer]))[SHARD]
        seen = await stores[claimer].load(KEY)
        (outcome,) = await write
        if isinstance(outcome, Conflict):
            assert outcome.fenced
            lost += 1
        else:
            version += 1
            won += 1
            assert seen is not None, "a write of the old epoch became durable after the claim"
        assert (seen.version if seen is not None else 0) == version
        (late,) = await writer.commit([_record(version, epoch)])
        assert isinstance(late, Conflict)
        assert late.fenced
        owner, epoch = claimer, newer
    assert won + lost == RACES
    assert won
    assert lost


def _record(version: int, epoch: int) -> CommitRecord:
    return CommitRecord(KEY, version, version + 1, b"{}", 1, 0, shard=SHARD, epoch=epoch)
