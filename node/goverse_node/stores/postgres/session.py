"""Session settings that the correctness of the store depends on.

A role or a database can have its own defaults (``ALTER ROLE ... SET``), a pooler can drop settings that a client asks
for, and a server can be started with options that lose data. Each new connection therefore sets the values below and
reads them back in a second request. A connection without them is never used, and a process that cannot get one does not
start.

The settings are applied with ``set_config``, because PgBouncer refuses them as startup parameters. ``RESET ALL`` would
undo them, so the pool does not send it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from goverse.errors import ConfigError
from goverse.settings.data_source import SETTING
from goverse_node.stores.postgres.driver import asyncpg


class Required(NamedTuple):
    """The required value of a setting.

    Attributes:
        value: the value as ``pg_settings`` shows it; times are in milliseconds.
        why: the reason, for the error message.
        stronger: other acceptable values.
    """

    value: str
    why: str
    stronger: tuple[str, ...] = ()


SESSION: Final = {
    "default_transaction_isolation": Required(
        "read committed", "the fence compares epochs in a snapshot that is taken after its lock"
    ),
    "synchronous_commit": Required(
        "on", "an acknowledged call must be on the disk, and on the synchronous standbys", ("remote_apply",)
    ),
    "client_min_messages": Required("warning", "a cancelled wait for a synchronous standby is reported as a warning"),
    "standard_conforming_strings": Required("on", "patterns in the functions contain backslashes"),
    "array_nulls": Required("on", "columns of numbers contain nulls"),
    "search_path": Required("pg_catalog", "a function of another schema must not replace one of the server's"),
    "exit_on_error": Required("off", "a batch that conflicts raises an error, and the connection must stay open"),
    "lock_timeout": Required("0", "a commit may wait for a lock until the statement timeout"),
    "idle_in_transaction_session_timeout": Required("0", "the server must not end a migration"),
    "idle_session_timeout": Required("0", "the server must not end a connection that waits for the next commit"),
    "transaction_timeout": Required("0", "the server must not end a migration"),
    "jit": Required("off", "compiling a commit takes longer than running it"),
}
"""By name. ``statement_timeout`` comes from the options. Settings that the server does not know are skipped."""

BY_INDEX: Final = {
    name: Required(value, "the planner cannot know the size of a batch and would scan all shards for a few records")
    for name, value in (
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_seqscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    )
}
"""For the connection that commits."""

SERVER: Final = {"fsync": Required("on", "without it a crash of the machine loses acknowledged calls")}
"""Settings that a connection cannot change. ``full_page_writes`` is not checked: some file systems do not need it."""

POOLED: Final = (
    "PostgreSQL is behind a connection pooler that gives one session to several clients; GoVerse needs a session of "
    "its own per connection: set pool_mode = session (PgBouncer), or connect to PostgreSQL directly"
)

_TURNS: Final = (0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1)
"""The order in which two connections are probed. A pooler that rotates between servers cannot follow it by chance."""

_SET: Final = """
SELECT pg_catalog.pg_backend_pid() AS pid, pg_catalog.array_agg(pg_catalog.set_config(name, value, false)) AS applied
FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS wanted (name, value)
JOIN pg_catalog.pg_settings USING (name)
"""
_READ_BACK: Final = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY ($1::text[])"
_PID: Final = "SELECT pg_catalog.pg_backend_pid()"

_FOREIGN_SESSION: Final = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
"""Errors of a statement in a session in which another client prepared its statements."""

Connect = Callable[[], Awaitable[Any]]


async def prepare(connection: Any, required: dict[str, Required], connect: Connect) -> None:
    """Set the session's settings and read them back.

    Args:
        connection: the new connection.
        required: the settings to apply.
        connect: opens a second connection, which is used to detect a pooler that shares sessions.

    Raises:
        ConfigError: a setting did not take effect, or the connection shares its session with other clients.
    """
    try:
        found = await connection.fetchrow(_SET, list(required), [each.value for each in required.values()])
        if found["pid"] != connection.get_server_pid():
            await _check_own_session(connection, connect)
        present = dict(await connection.fetch(_READ_BACK, [*required, *SERVER]))
    except asyncpg.PostgresError as error:
        if is_pooled(error):
            raise ConfigError(POOLED, setting=SETTING) from error
        raise
    for name, wanted in (required | SERVER).items():
        value = present.get(name, wanted.value)
        if value != wanted.value and value not in wanted.stronger:
            raise ConfigError(_refusal(name, value, wanted), setting=SETTING)


def is_pooled(error: BaseException) -> bool:
    """True if the error shows that a pooler gives one session to several clients.

    With statement pooling, PgBouncer refuses transactions. Its messages have one code and are in English.
    """
    if isinstance(error, asyncpg.PostgresConnectionError):
        return "statement pooling" in str(error)
    return isinstance(error, _FOREIGN_SESSION)


def _refusal(name: str, value: str, wanted: Required) -> str:
    if name in SERVER:
        return f"PostgreSQL runs with {name} = {value}: {wanted.why}; set it to {wanted.value} and restart the server"
    return (
        f"PostgreSQL did not take {name} = {wanted.value} and keeps {value}: {wanted.why}; if a connection pooler is "
        "in between, connect directly"
    )


async def _check_own_session(connection: Any, connect: Connect) -> None:
    """Check that a pooler gives each client its own session.

    A pooler was detected because it reports its own process id instead of the server's.

    Raises:
        ConfigError: two clients used the same session, or one client used two.
    """
    probe = await connect()
    try:
        seen: tuple[set[int], set[int]] = set(), set()
        for turn in _TURNS:
            client = (connection, probe)[turn]
            async with client.transaction():
                seen[turn].add(await client.fetchval(_PID))
        if seen[0] & seen[1] or len(seen[0] | seen[1]) > 2:
            raise ConfigError(POOLED, setting=SETTING)
    finally:
        probe.terminate()
