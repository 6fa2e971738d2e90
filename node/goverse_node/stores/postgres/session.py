"""Session settings: everything on a connection that the correctness of the store depends on.

A role or a database can carry defaults of its own (``ALTER ROLE ... SET``), a pooler can drop what a client asks for,
and a server can be started with options that lose data. So each connection sets the values below when it opens, and
reads them back in a second request. A connection without them is never used, and a process that cannot get one does not
start.

The settings are set by ``set_config`` and not by startup parameters, which PgBouncer refuses. ``RESET ALL`` would undo
them; the pool does not send it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from goverse.errors import ConfigError
from goverse.settings.data_source import SETTING
from goverse_node.stores.postgres.driver import asyncpg


class Required(NamedTuple):
    """A setting that has to have a value, and the reason.

    Attributes:
        value: as ``pg_settings`` shows it; times are in milliseconds.
        why: what goes wrong otherwise.
        stronger: further values that serve as well.
    """

    value: str
    why: str
    stronger: tuple[str, ...] = ()


SESSION: Final = {
    "default_transaction_isolation": Required(
        "read committed", "the fence compares epochs in a snapshot that is taken after its lock"
    ),
    "synchronous_commit": Required(
        "on", "an acknowledged call has to be on the disk, and on the synchronous standbys", ("remote_apply",)
    ),
    "client_min_messages": Required("warning", "a cancelled wait for a synchronous standby is told in a warning"),
    "standard_conforming_strings": Required("on", "patterns in the functions hold backslashes"),
    "array_nulls": Required("on", "columns of numbers hold nulls"),
    "search_path": Required("pg_catalog", "a function of another schema must not replace one of the server's"),
    "exit_on_error": Required("off", "a batch that conflicts is an error, after which the connection goes on"),
    "lock_timeout": Required("0", "a commit waits for a lock as long as a statement may take"),
    "idle_in_transaction_session_timeout": Required("0", "the server must not end a migration"),
    "idle_session_timeout": Required("0", "the server must not end a connection that waits for the next commit"),
    "transaction_timeout": Required("0", "the server must not end a migration"),
    "jit": Required("off", "to compile a commit takes longer than to run it"),
}
"""By name; ``statement_timeout`` comes from the options. A setting that the server does not have is left out."""

BY_INDEX: Final = {
    name: Required(value, "the planner cannot know how many records a batch has, and would read all shards for a few")
    for name, value in (
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_seqscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
    )
}
"""For the connection that commits."""

SERVER: Final = {"fsync": Required("on", "without it a crash of the machine takes acknowledged calls back")}
"""Settings that a connection cannot change. ``full_page_writes`` is left out: some file systems make it needless."""

POOLED: Final = (
    "PostgreSQL is behind a connection pooler that gives one session to several clients; GoVerse needs a session of "
    "its own per connection: set pool_mode = session (PgBouncer), or connect to PostgreSQL directly"
)

_TURNS: Final = (0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1)
"""Which of two connections is asked next: no rotation of servers follows this order."""

_SET: Final = """
SELECT pg_catalog.pg_backend_pid() AS pid, pg_catalog.array_agg(pg_catalog.set_config(name, value, false)) AS applied
FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS wanted (name, value)
JOIN pg_catalog.pg_settings USING (name)
"""
_READ_BACK: Final = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY ($1::text[])"
_PID: Final = "SELECT pg_catalog.pg_backend_pid()"

_FOREIGN_SESSION: Final = (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError)
"""What a statement meets in a session that another client prepared its statements in."""

Connect = Callable[[], Awaitable[Any]]


async def prepare(connection: Any, required: dict[str, Required], connect: Connect) -> None:
    """Set the session's settings and read them back; ``connect`` opens a second connection, to look for a pooler.

    Raises:
        ConfigError: a setting did not take effect, or the session is not this connection's own.
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
    """Tell whether an error shows that a pooler gives one session to several clients.

    In statement pooling PgBouncer refuses transactions; its messages have one code and are in English.
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
    """Pass if a pooler, which shows itself by a process id of its own making, leaves a session to its client.

    Raises:
        ConfigError: two clients were seen in one session, or one client in two.
    """
    probe = await connect()
    try:
        seen: tuple[set[int], set[int]] = set(), set()
        for turn in _TURNS:
            asked = (connection, probe)[turn]
            async with asked.transaction():
                seen[turn].add(await asked.fetchval(_PID))
        if seen[0] & seen[1] or len(seen[0] | seen[1]) > 2:
            raise ConfigError(POOLED, setting=SETTING)
    finally:
        probe.terminate()
