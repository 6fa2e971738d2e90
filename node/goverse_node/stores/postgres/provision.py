"""Create the role, the database and the schema of a cluster, with a login that has CREATEROLE and CREATEDB.

Whatever exists already is kept. The server itself quotes all names (``format`` with ``%I`` and ``%L``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple

from goverse.errors import ConfigError, StoreError
from goverse.settings.data_source import EXAMPLE, SETTING, DataSource
from goverse_node.stores.postgres import schema
from goverse_node.stores.postgres.connections import Connections
from goverse_node.stores.postgres.driver import asyncpg
from goverse_node.stores.postgres.failures import translated
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.statements import query

_ADMIN: Final = "--admin-dsn"


class Home(NamedTuple):
    """The role and the database of a cluster."""

    role: str
    database: str


def home_of(options: PostgresOptions) -> Home:
    """Return the role and the database in a DSN.

    Raises:
        ConfigError: one of them is missing.
    """
    source = DataSource.parse(options.dsn)
    home = Home(source.user, source.database)
    if not all(home):
        raise ConfigError(
            f"the data source name must contain the role and the database to create, like {EXAMPLE}", setting=SETTING
        )
    return home


async def provision(options: PostgresOptions, admin_dsn: str, admin_password: str | None = None) -> list[str]:
    """Create the role, the database and the schema. Returns what was created.

    Raises:
        ConfigError: the administrator's login is rejected or lacks privileges, or the role cannot log in afterwards.
        StoreError: the database exists and is unusable.
        Unavailable: PostgreSQL is unavailable.
    """
    home, made = home_of(options), list[str]()
    administrators = Connections(replace(options, dsn=admin_dsn, password=admin_password), setting=_ADMIN)
    try:
        admin = await administrators.dedicated()
    except Exception as error:
        refusal = translated(error)
        raise type(refusal)(f"{_ADMIN}: {refusal.detail}") from error
    try:
        made += await _make_role(admin, home, options.password or DataSource.parse(options.dsn).password or None)
        made += await _make_database(admin, home)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigError(
            f"the user in {_ADMIN} lacks privileges: {error}; use one with CREATEROLE and CREATEDB"
        ) from error
    finally:
        await administrators.hang_up(admin)
    return made + await _make_schema(options, home)


async def _make_role(admin: Any, home: Home, password: str | None) -> list[str]:
    if await admin.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", home.role):
        return []
    await admin.execute(await admin.fetchval(query("create_role"), home.role, password))
    return [f"role {home.role}"]


async def _make_database(admin: Any, home: Home) -> list[str]:
    find = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = $1"
    encoding = await admin.fetchval(find, home.database)
    if encoding is None:
        lend = await admin.fetchval(query("lend_role"), home.role)
        if lend is not None:
            await admin.execute(lend)
        await admin.execute(await admin.fetchval(query("create_database"), home.database, home.role))
        return [f"database {home.database}"]
    if encoding != "UTF8":
        raise StoreError(f"the database {home.database} exists with encoding {encoding}; it must have UTF8")
    await admin.execute(await admin.fetchval(query("grant_database"), home.database, home.role))
    return []


async def _make_schema(options: PostgresOptions, home: Home) -> list[str]:
    connections = Connections(options)
    try:
        connection = await connections.dedicated()
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise ConfigError(
            f"the role {home.role} exists but cannot log in: {error}; set postgres.password to its password, or check "
            "pg_hba.conf of the server",
            setting="postgres.password",
        ) from error
    except Exception as error:
        raise translated(error) from error
    try:
        return [f"schema {name}" for name in await schema.migrate(connection)]
    finally:
        await connections.hang_up(connection)
