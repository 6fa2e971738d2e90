"""Connections: a pool for reading, dedicated ones for whoever needs the same one all the time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from goverse_node.stores.postgres.driver import asyncpg
from goverse_node.stores.postgres.failures import told
from goverse_node.stores.postgres.options import PostgresOptions

_HANG_UP_S: Final = 1.0
_BY_INDEX: Final = dict.fromkeys(("enable_hashjoin", "enable_mergejoin", "enable_seqscan"), "off") | {
    "plan_cache_mode": "force_generic_plan"
}
"""For commits. The planner cannot know how many records a batch has, and would read all shards for a few of them."""


class Connections:
    """All connections of one store."""

    def __init__(self, options: PostgresOptions) -> None:
        """Connect when asked to."""
        self._options = options
        self._pool: Any = None

    @property
    def pool(self) -> Any:
        """The pool for reading."""
        return self._pool

    async def open(self) -> None:
        """Make the pool.

        Raises:
            GoverseError: PostgreSQL cannot be reached, or refuses us.
        """
        options = self._options
        try:
            self._pool = await asyncpg.create_pool(min_size=1, max_size=options.pool_max, **self._arguments())
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
        """Return a connection of one's own, on which every row is found by its index."""
        arguments = self._arguments()
        arguments["server_settings"] |= _BY_INDEX
        return await asyncpg.connect(**arguments)

    async def hang_up(self, connection: Any) -> None:
        """End a dedicated connection, whatever state it is in."""
        try:
            await asyncio.wait_for(connection.close(timeout=_HANG_UP_S), 2 * _HANG_UP_S)
        except Exception:
            connection.terminate()

    def _arguments(self) -> dict[str, Any]:
        options = self._options
        return {
            "dsn": options.dsn,
            "password": options.password,
            "timeout": options.connect_timeout_s,
            "target_session_attrs": "read-write",  # a standby would answer with what it has heard so far
            "command_timeout": options.statement_timeout_s + 5.0,
            "server_settings": {
                "application_name": "goverse",
                "statement_timeout": str(round(options.statement_timeout_s * 1000)),
                "synchronous_commit": "on",
                "jit": "off",
            },
        }
