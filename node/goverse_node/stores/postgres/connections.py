"""Connections to PostgreSQL: a pool for reads and claims, and dedicated connections."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from goverse.errors import ConfigError, Unavailable
from goverse.settings.data_source import SETTING, DataSource, hide_passwords
from goverse.tls.rotation import Rotating
from goverse_node.stores.postgres import session
from goverse_node.stores.postgres.driver import asyncpg
from goverse_node.stores.postgres.failures import translated
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.session import Required
from goverse_node.stores.postgres.tls import certificates_of

_CLOSE_S: Final = 1.0


class Connections:
    """All connections of one store.

    Attributes:
        certificates: the TLS context of new connections, reloaded from the files in the data source name. None if it
            names no files, or files that only the driver can use.
    """

    def __init__(self, options: PostgresOptions, *, setting: str = SETTING) -> None:
        """Prepare connections; none is opened yet.

        Args:
            options: the options of the store.
            setting: the name of the setting that holds the data source name, for error messages.

        Raises:
            ConfigError: the data source name is malformed, or its certificates are unusable.
        """
        self._setting = setting
        self._source = DataSource.parse(options.dsn, setting=setting)
        self.certificates: Rotating[ssl.SSLContext] | None = certificates_of(options.dsn)
        self._options = options
        self._timeout_s = self._source.connect_timeout_s or options.connect_timeout_s
        self._pool: Any = None

    @property
    def pool(self) -> Any:
        """The pool for reads and claims."""
        return self._pool

    async def open(self) -> None:
        """Create the pool.

        Raises:
            ConfigError: PostgreSQL rejects the login, or a session does not get the settings that it needs.
            Unavailable: PostgreSQL is unavailable.
        """
        options = self._options
        try:
            self._pool = await asyncpg.create_pool(
                min_size=1,
                max_size=options.pool_max,
                connect=self._connect_for_reads,
                reset=_keep_settings,
                **self._arguments(),
            )
        except Exception as error:
            raise translated(error) from error

    async def close(self) -> None:
        """Close the pool. Connections that do not close in time are terminated."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), _CLOSE_S)
            except Exception:
                pool.terminate()

    async def renew(self) -> None:
        """Replace all connections of the pool. Their server has become read-only; new ones find the primary."""
        if self._pool is not None:
            await self._pool.expire_connections()

    async def dedicated(self) -> Any:
        """Open a connection outside of the pool. Its planner always uses indexes (``session.BY_INDEX``)."""
        return await self._connect(self._required() | session.BY_INDEX, **self._arguments())

    async def hang_up(self, connection: Any) -> None:
        """Close a dedicated connection; terminate it if it does not close in time."""
        try:
            await asyncio.wait_for(connection.close(timeout=_CLOSE_S), 2 * _CLOSE_S)
        except Exception:
            connection.terminate()

    async def _connect_for_reads(self, *args: Any, **arguments: Any) -> Any:
        return await self._connect(self._required(), *args, **arguments)

    async def _connect(self, required: dict[str, Required], *args: Any, **arguments: Any) -> Any:
        """Open a connection with the current certificates and apply the session's settings."""
        connection = await self._open(*args, **arguments)
        try:
            async with asyncio.timeout(self._timeout_s):
                await session.prepare(connection, required, self._second)
        except TimeoutError as error:
            connection.terminate()
            raise Unavailable(
                f"PostgreSQL did not answer a request within {self._timeout_s:g} s after the connection was made; a "
                f"connection pooler must allow {self._options.pool_max + 2} sessions per node"
            ) from error
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _second(self) -> Any:
        """Open another connection, to test whether each connection has its own session."""
        return await self._open(**self._arguments())

    async def _open(self, *args: Any, **arguments: Any) -> Any:
        if self.certificates is not None:
            arguments["ssl"] = self.certificates.current
        try:
            return await asyncpg.connect(*args, **arguments)
        except asyncpg.ProtocolViolationError as error:
            if "startup parameter" not in str(error):
                raise
            why = f"the connection pooler rejects a parameter: {error}; remove it from the data source name"
            raise ConfigError(f"{self._setting}: {why}", setting=self._setting) from error
        except ValueError as error:
            if isinstance(error, OSError):  # for example a rejected certificate
                raise
            raise ConfigError(
                f"{self._setting} is invalid: {hide_passwords(str(error))}", setting=self._setting
            ) from None

    def _required(self) -> dict[str, Required]:
        timeout = str(round(self._options.statement_timeout_s * 1000))
        limit = Required(timeout, "a statement that hangs must end", ())
        return session.SESSION | {"statement_timeout": limit}

    def _arguments(self) -> dict[str, Any]:
        options = self._options
        return {
            "dsn": self._source.url,
            "password": options.password,
            "timeout": self._timeout_s,
            "target_session_attrs": "read-write",  # a standby can return an older state
            "command_timeout": options.statement_timeout_s + 5.0,
            "server_settings": {"application_name": "goverse", **self._source.startup},
        }


async def _keep_settings(connection: Any) -> None:
    """Reset nothing when a connection returns to the pool: requests do not change the session's settings."""
    del connection
