"""PostgreSQL's errors as ours, in one place."""

from __future__ import annotations

import asyncio
from typing import Final

from goverse.errors import ConfigError, GoverseError, StoreError, Unavailable
from goverse.settings.data_source import SETTING
from goverse_node.stores.postgres.driver import asyncpg
from goverse_node.stores.postgres.session import POOLED, is_pooled

GIVEN_UP: Final = "GV001"
CONFLICT: Final = "GV002"

_PASSING: Final = (
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
"""Errors that time may heal: a server that restarts, a cancelled statement, too many connections, a full disk, a server
that takes no writes because it is no longer the primary, or because somebody said so for a while.
``InternalClientError`` is what the driver makes of a connection that ends while it is handed over."""


def passes(error: BaseException) -> bool:
    """Tell whether the same request may succeed later."""
    return isinstance(error, _PASSING)


def is_read_only(error: BaseException) -> bool:
    """Tell whether the server takes no writes: another one may, or this one later, but not on this connection."""
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def told(error: BaseException) -> GoverseError:
    """Return what callers and operators hear."""
    if isinstance(error, GoverseError):
        return error
    if is_pooled(error):
        return ConfigError(POOLED, setting=SETTING)
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        return ConfigError(f"PostgreSQL refuses the user: {error}", setting=SETTING)
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return ConfigError(f"PostgreSQL has no such database: {error}", setting=SETTING)
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedFunctionError | asyncpg.InvalidSchemaNameError):
        return StoreError(f"the database has no schema for this release: {error}; run `goverse db migrate`")
    if isinstance(error, asyncpg.LockNotAvailableError):
        return Unavailable("somebody else uses the tables and goes on, as a dump of the database does; try again later")
    if is_read_only(error):
        return Unavailable(f"PostgreSQL takes no writes now: {error}")
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return Unavailable(f"PostgreSQL has not enough room, memory or connections: {error}")
    if passes(error):
        return Unavailable(f"PostgreSQL does not answer: {str(error) or type(error).__name__}")
    return StoreError(f"PostgreSQL: {error}")
