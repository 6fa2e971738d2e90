"""Translation of PostgreSQL's and the driver's errors into GoVerse's."""

from __future__ import annotations

import asyncio
from typing import Final

from goverse.errors import ConfigError, GoverseError, StoreError, Unavailable
from goverse.settings.data_source import SETTING
from goverse_node.stores.postgres.driver import asyncpg
from goverse_node.stores.postgres.session import POOLED, is_pooled

GIVEN_UP: Final = "GV001"
CONFLICT: Final = "GV002"

_TEMPORARY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
    TimeoutError,
    asyncio.TimeoutError,
)
"""Temporary errors: a server that restarts, a cancelled statement, too many connections, a full disk, or a server that
is read-only because it is no longer the primary or because an administrator made it read-only. The driver raises
``InternalClientError`` if a connection ends while it is being established."""


def is_temporary(error: BaseException) -> bool:
    """True if the error is temporary: the same request can succeed later."""
    return isinstance(error, _TEMPORARY)


def is_read_only(error: BaseException) -> bool:
    """True if the server is read-only. A new connection can reach a server that is not."""
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def translated(error: BaseException) -> GoverseError:
    """Translate an error into the one that callers and operators get."""
    if isinstance(error, GoverseError):
        return error
    if is_pooled(error):
        return ConfigError(POOLED, setting=SETTING)
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        return ConfigError(f"PostgreSQL rejected the login: {error}", setting=SETTING)
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return ConfigError(f"database not found: {error}", setting=SETTING)
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedFunctionError | asyncpg.InvalidSchemaNameError):
        return StoreError(f"the database lacks the schema of this release: {error}; run `goverse db migrate`")
    if isinstance(error, asyncpg.LockNotAvailableError):
        return Unavailable("the tables are locked by another session, for example by a database dump; try again later")
    if is_read_only(error):
        return Unavailable(f"PostgreSQL is read-only: {error}")
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return Unavailable(f"PostgreSQL is out of disk space, memory or connections: {error}")
    if is_temporary(error):
        return Unavailable(f"PostgreSQL is unavailable: {str(error) or type(error).__name__}")
    return StoreError(f"PostgreSQL: {error}")
