"""Expiry of changes, kept replies and finished calls past their retention.

All are stored in one partition per day, and a whole partition is dropped. Rows whose day had no partition are in a
rest table and are deleted in batches. Objects are never deleted, and replies and calls only after they have expired.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.statements import query

_BATCH: Final = 1_000


class Expired(NamedTuple):
    """The data that was removed, or that a dry run found.

    Attributes:
        days: names of partitions and their sizes in bytes.
        replies: kept replies outside of partitions.
        changes: batches of changes outside of partitions.
        calls: finished calls outside of partitions.
    """

    days: tuple[tuple[str, int], ...]
    replies: int
    changes: int
    calls: int


async def expire(connection: Any, options: PostgresOptions, *, dry_run: bool = False) -> Expired:
    """Remove the data that is past its retention. With ``dry_run``, only report it."""
    changes_days = options.changes_retention_days
    rows = await connection.fetch(
        "SELECT * FROM goverse.expired_days($1, $2)", changes_days, options.replies_retention_days
    )
    days = tuple((row["partition"], row["bytes"]) for row in rows)
    if dry_run:
        rest = await connection.fetchrow(query("expired_rest"), changes_days)
        return Expired(days, rest["replies"], rest["changes"], rest["calls"])
    for partition, _ in days:
        await connection.execute("SELECT goverse.drop_day($1)", partition)
    replies = await _delete(connection, "drop_expired_rest")
    calls = await _delete(connection, "drop_expired_calls")
    changes = 0
    while batch := await connection.fetchval("SELECT goverse.trim_rest($1, $2)", changes_days, _BATCH):
        changes += batch
    return Expired(days, replies, changes, calls)


async def _delete(connection: Any, name: str) -> int:
    """Run a statement that deletes a batch of rows until there are none. Returns the number of rows."""
    deleted = 0
    while batch := int((await connection.execute(query(name))).rpartition(" ")[2]):
        deleted += batch
    return deleted
