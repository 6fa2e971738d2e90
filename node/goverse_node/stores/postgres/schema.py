"""Schema migrations.

Migrations only go forward. Each is applied once, in the order of their numbers. The digest of every applied migration
is compared with that of this release. An advisory lock lets one process migrate at a time.

A migration names the oldest schema whose nodes can go on with the database after it, in its first line:
``-- serves: N``. So a database can be migrated before its nodes are replaced, and a node of the older release can still
start. Without such a line, a migration serves no older nodes.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final, NamedTuple

from goverse.errors import DataNewer, StoreError
from goverse_node.stores.postgres.statements import migrations

_LOCK: Final = 71_022
_TABLE: Final = """
CREATE SCHEMA IF NOT EXISTS goverse;
CREATE TABLE IF NOT EXISTS goverse.migrations (
    number integer PRIMARY KEY, name text NOT NULL, digest text NOT NULL, applied timestamptz NOT NULL DEFAULT now(),
    serves integer NOT NULL
);
"""

Connection = Any  # asyncpg ships no types


class Migration(NamedTuple):
    """A migration. ``applied`` is the time at which it was applied, or None."""

    number: int
    name: str
    digest: str
    applied: str | None


_SERVES: Final = re.compile(r"-- serves: (\d+)\n")


def _known() -> dict[int, tuple[str, str, str]]:
    return {number: (name, sql, sha256(sql.encode()).hexdigest()) for number, name, sql in migrations()}


async def status(connection: Connection) -> list[Migration]:
    """Return all migrations, in order.

    Raises:
        StoreError: an applied migration is different from the one in this release.
        DataNewer: the database has migrations that this release does not know, and one of them does not serve it.
    """
    known = _known()
    applied: dict[int, Any] = {}
    if await connection.fetchval("SELECT to_regclass('goverse.migrations')") is not None:
        applied = {row["number"]: row for row in await connection.fetch("SELECT * FROM goverse.migrations")}
    for number, row in applied.items():
        if number not in known:
            if row["serves"] <= max(known):
                continue
            raise DataNewer(
                f"the database has migration {row['name']}, which needs a newer release; this one has migrations up to "
                f"{max(known)}, and that one serves nodes from {row['serves']} on"
            )
        if row["digest"] != known[number][2]:
            raise StoreError(
                f"migration {row['name']} was applied in another form than in this release; the schema was edited by "
                "hand, or belongs to a development version"
            )
    return [
        Migration(number, name, digest, str(applied[number]["applied"]) if number in applied else None)
        for number, (name, _, digest) in sorted(known.items())
    ]


async def migrate(connection: Connection) -> list[str]:
    """Apply all missing migrations in one transaction. Returns their names.

    Raises:
        StoreError, DataNewer: as ``status``.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        missing = [each for each in await status(connection) if each.applied is None]
        for each in missing:
            sql = _known()[each.number][1]
            await connection.execute(sql)
            serves = _SERVES.match(sql)
            await connection.execute(
                "INSERT INTO goverse.migrations (number, name, digest, serves) VALUES ($1, $2, $3, $4)",
                each.number,
                each.name,
                each.digest,
                int(serves[1]) if serves is not None else each.number,
            )
    return [each.name for each in missing]


async def check(connection: Connection) -> None:
    """Check that the schema is the one of this release.

    Raises:
        StoreError: migrations are missing. The message contains the command to run.
        DataNewer: a newer release migrated the database.
    """
    missing = [each.name for each in await status(connection) if each.applied is None]
    if missing:
        raise StoreError(f"the database lacks {', '.join(missing)}; run `goverse db migrate`")
