"""Nodes of two releases on one database: the older one makes its own calls, against the newer schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from benchmarks.postgres import Server
from goverse.errors import DataNewer
from goverse.limits import CLUSTER_SHARDS
from goverse.model.effects import Effects, SentCall
from goverse.model.keys import ObjectKey, placement_hash
from goverse.model.receipts import Delivery, Receipt, Settlement, number_of
from goverse.model.records import ANCHOR_EVERY, CommitRecord, ObjectPlace
from goverse_node.stores.postgres import batches, schema
from goverse_node.stores.postgres.failures import CONFLICT
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.statements import migrations
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.verify import verify
from goverse_node.stores.postgres.writer import Carried

KEYS = [ObjectKey("default", "Counter", f"c{n}") for n in range(3)]

# The calls of the release before hashes and links, as its nodes send them.
COMMIT_BATCH = (
    "SELECT goverse.commit_batch($1, $2, $3, $4, $5, $6::text::integer[], $7::text::bigint[], "
    "$8::text::bigint[], $9, $10::text::bigint[], $11::text::bigint[], $12, $13::text::integer[], "
    "$14::text::bigint[], $15::text::integer[], $16, $17, $18::text::bigint[], $19, $20::text::bigint[], "
    "$21::text::bigint[], $22, $23, $24, $25, $26::text::bigint[], $27::text::integer[], $28::text::bigint[], "
    "$29, $30, $31, $32, $33::text::bigint[], $34::text::integer[], $35, $36::text::integer[], "
    "$37::text::bigint[], $38::text::bigint[], $39::text::bigint[], $40::text::bigint[], $41::text::integer[], "
    "$42, $43, $44::text::bigint[])"
)
COMMIT_EACH = (
    "SELECT goverse.commit_each($1, $2, $3, $4, $5, $6::text::bigint[], $7, $8::text::bigint[], "
    "$9::text::bigint[], $10, $11::text::integer[], $12::text::bigint[], $13::text::integer[], "
    "$14::text::bigint[], $15, $16, $17, $18::text::bigint[], $19, $20, $21, $22::text::bigint[], $23)"
)
NEW_IN_BATCH = slice(12, 17)
NEW_IN_EACH = slice(18, 20)


class OlderStore(PostgresStore):
    """A node of the release before hashes and links."""

    def __init__(self, dsn: str, owner: str) -> None:
        super().__init__(PostgresOptions(dsn=dsn), owner=owner)
        self.folded: list[bool] = []
        self._writer._carry_out = self._carry_out  # type: ignore[method-assign]

    async def _carry_out(self, batch: Sequence[CommitRecord]) -> Carried:
        writer = self._writer
        head = (writer.number, writer._owner, writer._session, writer.carried, writer._batch)
        columns = _older_columns(batch)
        self.folded.append(columns is not None)
        try:
            if columns is not None:
                return Carried(await writer._connection.fetchval(COMMIT_BATCH, *head, *columns), {})
        except asyncpg.PostgresError as error:
            if getattr(error, "sqlstate", "") != CONFLICT:
                raise
            self.folded[-1] = False
        rows = batches.each(batch, CLUSTER_SHARDS)
        del rows[NEW_IN_EACH]
        answer = json.loads(await writer._connection.fetchval(COMMIT_EACH, *head, *rows))
        assert answer["refused"] == {}
        return Carried(answer["base"], {})


def _older_columns(batch: Sequence[CommitRecord]) -> list[Any] | None:
    columns = batches.folded(batch, CLUSTER_SHARDS)
    if columns is not None:
        del columns[NEW_IN_BATCH]
    return columns


def change(key: ObjectKey, expected: int, *, deletes: bool = False) -> CommitRecord:
    return CommitRecord(key, expected, expected + 1, None if deletes else b"{}", 1, 0)


async def findings(connection: Any) -> dict[str, tuple[str, ...]]:
    return {each.check: each.wrong for each in await verify(connection) if each.wrong and each.check != "days"}


@pytest.mark.requirement("QUA-6")
async def test_an_older_node_commits_against_the_newer_schema(running: Server) -> None:
    older, newer = OlderStore(running.dsn, "older"), PostgresStore(PostgresOptions(dsn=running.dsn), owner="newer")
    await older.open()
    await newer.open()
    connection = await asyncpg.connect(running.dsn)
    try:
        first, second, third = KEYS
        await older.commit([change(first, 0), change(second, 0)])
        await newer.commit([change(first, 1), change(third, 0)])
        await older.commit([change(first, n) for n in range(2, 2 * ANCHOR_EVERY)] + [change(second, 1)])
        await newer.commit([change(first, 2 * ANCHOR_EVERY), change(second, 2, deletes=True)])
        await older.commit([change(second, 3), change(first, 2 * ANCHOR_EVERY + 1)])
        await older.commit([change(third, 1, deletes=True), change(third, 2), change(third, 3)])
        assert older.folded == [True, True, True, False]

        unplaced = tuple(
            f"default/Counter/c{n} has no hash yet; any running node of this release fills it in" for n in (0, 1)
        )
        assert await findings(connection) == {"hashes": unplaced}
        assert await newer.living() == {("default", "Counter"): 3}
        changes = await newer.changes(0, 1_000)
        assert [change.generation for change in changes if change.key == second] == [1, 1, 1, 4]
        assert [change.generation for change in changes if change.key == third] == [1, 1, 3, 3]

        assert await newer.housekeeping.fill_in_hashes() == 2
        assert await findings(connection) == {}
        places = sorted(ObjectPlace(placement_hash(key), key) for key in KEYS)
        assert await newer.within(0, 2**64 - 1, limit=10) == places
    finally:
        await connection.close()
        await older.close()
        await newer.close()


@pytest.mark.requirement("QUA-6")
async def test_an_older_node_starts_on_a_newer_schema_that_serves_it(
    running: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, newer = (3, "0003_new", "-- serves: 1\nSELECT 3"), (4, "0004_newer", "-- serves: 3\nSELECT 4")
    connection = await asyncpg.connect(running.dsn)
    try:
        with monkeypatch.context() as upgrade:
            upgrade.setattr(schema, "migrations", lambda: (*migrations(), new))
            assert await schema.migrate(connection) == ["0003_new"]
        await schema.check(connection)
        assert await schema.migrate(connection) == []
        with monkeypatch.context() as upgrade:
            upgrade.setattr(schema, "migrations", lambda: (*migrations(), new, newer))
            assert await schema.migrate(connection) == ["0004_newer"]
        with pytest.raises(DataNewer, match=r"0004_newer, which needs a newer release; .* up to 2, .* from 3 on"):
            await schema.check(connection)
    finally:
        await connection.close()


@pytest.mark.requirement("QUA-6", "DUR-3")
async def test_a_node_without_reliable_calls_goes_on_beside_one_that_has_them(
    running: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [each for each in migrations() if each[0] == 1]
    connection = await asyncpg.connect(running.dsn)
    older, newer = OlderStore(running.dsn, "older"), PostgresStore(PostgresOptions(dsn=running.dsn), owner="newer")
    with monkeypatch.context() as release:
        release.setattr(schema, "migrations", lambda: before)
        await older.open()
    await newer.open()
    try:
        first, second, third = KEYS
        call = SentCall("c_1", second, "add", b"{}")
        settled = Settlement(Delivery(third, 7, 0, 7), b"done")
        (seq, _) = await newer.commit([replace(change(first, 0), effects=Effects((call,))), change(second, 0)])
        assert isinstance(seq, int)
        await older.commit([change(first, 1), change(second, 1), change(second, 2)])
        await newer.commit([replace(change(second, 3), effects=Effects(settles=settled, removes=(5,)))])
        await older.housekeeping.prepare()
        await older.housekeeping.cleanup()

        assert [(each.number, each.call) for each in await newer.pending([0], limit=9)] == [(number_of(seq, 0), call)]
        assert await newer.receipt(second, third) == Receipt(7, {7: b"done"})
        loaded = [await newer.load(key) for key in (first, second)]
        assert [found.version if found is not None else 0 for found in loaded] == [2, 4]
        assert await findings(connection) == {}
    finally:
        await connection.close()
        await older.close()
        await newer.close()
