"""Is the data what it should be? Questions to the database, each answered by the first few things that are wrong.

All are asked of one snapshot, so the answer is right beside nodes that write. They read everything: minutes where there
are many millions of changes.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from goverse.errors import GoverseError
from goverse_node.stores.postgres import schema
from goverse_node.stores.postgres.statements import query

CHECKS: Final = {
    "versions": "every object has a version and a position",
    "objects_and_feed": "every object is what its newest change made it",
    "feed_holes": "the changes of every object follow one another without a hole",
    "replies": "every kept reply is whole and belongs to a position that was given away",
    "shards": "every shard has an owner and an epoch",
    "days": "the change feed and the kept replies have their partitions",
}


class Finding(NamedTuple):
    """The answer to one question; nothing is wrong where ``wrong`` is empty."""

    check: str
    question: str
    wrong: tuple[str, ...]


async def verify(connection: Any) -> list[Finding]:
    """Return the answers; the data is only looked at where the schema is that of this release."""
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
