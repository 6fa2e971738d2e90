"""Expiry of changes, kept replies and finished calls past their retention.

All are stored in one partition per day, and a whole partition is dropped. Rows whose day had no partition are in a
rest table and are deleted in batches, and so are calls whose time was shortened by the settings after they ended.
Objects are never deleted, and replies and calls only after they have expired.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from goverse.model.call_retention import limits_of
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.statements import query

Report = Callable[[str, int, int], None]
"""Gets what is removed, how much of it so far, and how much there is, 0 if that is not known."""

_BATCH: Final = 1_000


def _unseen(what: str, done: int, total: int) -> None:
    """Discard a report."""


class Expired(NamedTuple):
    """The data that was removed, or that a dry run found.

    Attributes:
        days: names of partitions and their sizes in bytes.
        replies: kept replies outside of partitions.
        changes: batches of changes outside of partitions.
        calls: finished calls outside of partitions, and those that are kept for less time than when they ended.
    """

    days: tuple[tuple[str, int], ...]
    replies: int
    changes: int
    calls: int


async def expire(
    connection: Any, options: PostgresOptions, *, dry_run: bool = False, since_ms: int = 0, report: Report = _unseen
) -> Expired:
    """Remove the data that is past its retention, in batches. With ``dry_run``, only count it.

    If it is interrupted, the finished batches are gone and a repetition continues behind them. ``since_ms`` is the time
    of the previous removal with these options, so that it is not searched again; 0 if there was none. ``report`` is
    called after each batch.
    """
    most = limits_of(options.call_retention)
    limited = list(most), list(most.values())
    changes_days = options.changes_retention_days
    rows = await connection.fetch(
        "SELECT * FROM goverse.expired_days($1, $2)", changes_days, options.replies_retention_days
    )
    days = tuple((row["partition"], row["bytes"]) for row in rows)
    if dry_run:
        rest = await connection.fetchrow(query("expired_rest"), changes_days)
        shortened = await connection.fetchval(query("shortened_calls"), *limited)
        return Expired(days, rest["replies"], rest["changes"], rest["calls"] + shortened)
    for done, (partition, _) in enumerate(days, 1):
        await connection.execute("SELECT goverse.drop_day($1)", partition)
        report("days", done, len(days))
    replies = await _delete(connection, partial(report, "stored answers"), "drop_expired_rest")
    calls = await _delete(connection, partial(report, "expired calls"), "drop_expired_calls")
    shortened = await _delete(
        connection, partial(report, "calls past their retention"), "drop_shortened_calls", *limited, since_ms
    )
    changes = 0
    while batch := await connection.fetchval("SELECT goverse.trim_rest($1, $2)", changes_days, _BATCH):
        changes += batch
        report("changes", changes, 0)
    return Expired(days, replies, changes, calls + shortened)


async def _delete(connection: Any, report: Callable[[int, int], None], name: str, *arguments: Any) -> int:
    """Run a statement that deletes a batch of rows until there are none. Returns the number of rows."""
    deleted = 0
    while batch := int((await connection.execute(query(name), *arguments)).rpartition(" ")[2]):
        deleted += batch
        report(deleted, 0)
    return deleted
