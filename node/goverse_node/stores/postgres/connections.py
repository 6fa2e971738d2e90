"""Connections: a pool for reads and claims, and dedicated ones."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from goverse.errors import ConfigError, Unavailable
from goverse.settings.data_source import SETTING, DataSource, hide_passwords
from goverse.tls.rotation import Rotating
from goverse_node.stores.postgres import session
from goverse_node.stores.postgres.driver import asyncpg
from goverse_node.stores.postgres.failures import told
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.session import Required
from goverse_node.stores.postgres.tls import certificates_of

_HANG_UP_S: Final = 1.0


class Connections:
    """All connections of one store.

    Attributes:
        certificates: what new connections show and believe, where the data source name says files.
    """

    def __init__(self, options: PostgresOptions, *, setting: str = SETTING) -> None:
        """Connect when asked to; ``setting`` is what errors call the data source name.

        Raises:
            ConfigError: the data source name is malformed, or names certificates that cannot be used.
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
        """Make the pool.

        Raises:
            ConfigError: PostgreSQL refuses the user, or a session does not get the settings that it needs.
            Unavailable: PostgreSQL cannot be reached.
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
            raise told(error) from error

    async def close(self) -> None:
        """Hang up everywhere."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), _HANG_UP_S)
            except Exception:
                pool.terminate()

    async def renew(self) -> None:
        """Use none of the present connections again: they lead to a server that takes no writes."""
        if self._pool is not None:
            await self._pool.expire_connections()

    async def dedicated(self) -> Any:
        """Return a connection outside of the pool, on which every row is found by its index."""
        return await self._connect(self._required() | session.BY_INDEX, **self._arguments())

    async def hang_up(self, connection: Any) -> None:
        """End a dedicated connection, whatever state it is in."""
        try:
            await asyncio.wait_for(connection.close(timeout=_HANG_UP_S), 2 * _HANG_UP_S)
        except Exception:
            connection.terminate()

    async def _connect_for_reads(self, *args: Any, **arguments: Any) -> Any:
        return await self._connect(self._required(), *args, **arguments)

    async def _connect(self, required: dict[str, Required], *args: Any, **arguments: Any) -> Any:
        """Open a connection with the certificates of this moment, and give its session what it needs."""
        connection = await self._open(*args, **arguments)
        try:
            async with asyncio.timeout(self._timeout_s):
                await session.prepare(connection, required, self._second)
        except TimeoutError as error:
            connection.terminate()
            raise Unavailable(
                f"PostgreSQL answered no request within {self._timeout_s:g} s of the connection; a connection pooler "
                f"has to have room for {self._options.pool_max + 2} sessions per node"
            ) from error
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _second(self) -> Any:
        """Open a connection beside another one, to see if both get a session of their own."""
        return await self._open(**self._arguments())

    async def _open(self, *args: Any, **arguments: Any) -> Any:
        if self.certificates is not None:
            arguments["ssl"] = self.certificates.current
        try:
            return await asyncpg.connect(*args, **arguments)
        except asyncpg.ProtocolViolationError as error:
            if "startup parameter" not in str(error):
                raise
            why = f"the connection pooler says: {error}; remove it from the data source name"
            raise ConfigError(f"{self._setting}: {why}", setting=self._setting) from error
        except ValueError as error:
            if isinstance(error, OSError):  # a certificate that was refused
                raise
            raise ConfigError(
                f"{self._setting} cannot be used: {hide_passwords(str(error))}", setting=self._setting
            ) from None

    def _required(self) -> dict[str, Required]:
        timeout = str(round(self._options.statement_timeout_s * 1000))
        limit = Required(timeout, "a statement that hangs has to end", ())
        return session.SESSION | {"statement_timeout": limit}

    def _arguments(self) -> dict[str, Any]:
        options = self._options
        return {
            "dsn": self._source.url,
            "password": options.password,
            "timeout": self._timeout_s,
            "target_session_attrs": "read-write",  # a standby would answer with an older state
            "command_timeout": options.statement_timeout_s + 5.0,
            "server_settings": {"application_name": "goverse", **self._source.startup},
        }


async def _keep_settings(connection: Any) -> None:
    """Reset nothing on a connection that goes back to the pool: no request changes its session."""
    del connection
