"""Expiry: days of changes and kept replies that are past their retention are dropped as a whole.

What found no partition of its own day, because no node ran for days, lies in a rest table and is deleted in batches. A
reply that may still be asked for, and an object, are never touched.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.statements import query


class Expired(NamedTuple):
    """What is, or was, past its retention.

    Attributes:
        days: partitions with their sizes in bytes.
        replies: kept replies outside of partitions.
    """

    days: tuple[tuple[str, int], ...]
    replies: int


async def expire(connection: Any, options: PostgresOptions, now_ms: int, *, dry_run: bool = False) -> Expired:
    """Remove what is past its retention, or only tell what that is."""
    rows = await connection.fetch(
        "SELECT * FROM goverse.expired_days($1, $2)", options.changes_retention_days, options.replies_retention_days
    )
    days = tuple((row["partition"], row["bytes"]) for row in rows)
    if dry_run:
        return Expired(days, await connection.fetchval(query("expired_rest"), now_ms))
    for partition, _ in days:
        await connection.execute("SELECT goverse.drop_day($1)", partition)
    removed = 0
    while batch := int((await connection.execute(query("drop_expired_rest"), now_ms)).rpartition(" ")[2]):
        removed += batch
    return Expired(days, removed)
