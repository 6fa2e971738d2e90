"""Fixture: a PostgreSQL server for a test that stops it or changes its settings. Others use ``database``."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from benchmarks.postgres import Server, server
from goverse_node.stores.postgres import schema


@pytest.fixture
async def running() -> AsyncIterator[Server]:
    """A server with our schema."""
    with server(Path("/var/tmp")) as found:
        connection = await asyncpg.connect(found.dsn)
        await schema.migrate(connection)
        await connection.close()
        yield found
