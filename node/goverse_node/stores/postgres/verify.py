"""Consistency checks of the database. Each check returns the first few rows that violate it.

All checks run in one snapshot, so the result is correct even while nodes write. They read all data, which takes minutes
if there are many millions of changes.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from goverse.errors import GoverseError
from goverse_node.stores.postgres import schema
from goverse_node.stores.postgres.statements import query

CHECKS: Final = {
    "versions": "every object has a version and a position",
    "objects_and_feed": "every object matches its newest change",
    "feed_holes": "the changes of every object have consecutive versions",
    "links": "every change points to the ones before it",
    "living": "as many objects exist as are counted",
    "hashes": "every object has its hash",
    "replies": "every kept reply is complete and belongs to an assigned position",
    "outbox": "every pending call is readable, of an assigned position, and in the shard of its sender",
    "receipts": "every receipt is complete and of an assigned position, and no pending call is below their floor",
    "finished": "every finished call has a state and known objects",
    "shards": "every shard has an owner and an epoch",
    "days": "the change feed, the kept replies and the finished calls have their partitions",
}


class Finding(NamedTuple):
    """The result of one check. The data passes if ``wrong`` is empty."""

    check: str
    question: str
    wrong: tuple[str, ...]


async def verify(connection: Any) -> list[Finding]:
    """Run all checks. If the schema is not the one of this release, only that is reported."""
    question = "the schema is the one of this release"
    try:
        await schema.check(connection)
    except GoverseError as error:
        return [Finding("schema", question, (error.detail,))]
    findings = [Finding("schema", question, ())]
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for check, question in CHECKS.items():
            rows = await connection.fetch(query(f"verify/{check}"))
            findings.append(Finding(check, question, tuple(row[0] for row in rows)))
    return findings
