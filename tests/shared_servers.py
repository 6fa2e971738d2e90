"""One etcd and one PostgreSQL per test process, started for the first test that needs them.

A test gets a database of its own, or an etcd without keys. A test that stops a server, or changes what its whole server
shares (roles, settings, users of etcd), starts a server of its own: ``benchmarks.postgres.server``, ``etcd_cluster``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import asyncpg
import pytest
import pytest_asyncio

from benchmarks.postgres import Server, server
from goverse_node.stores.postgres import schema
from tests.etcd_server import EtcdCluster, etcd_cluster

_TEMPLATE: Final = "goverse_template"
_NUMBERS: Final = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The PostgreSQL server that tests share."""
    with server(Path("/var/tmp")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(postgres_server: Server) -> str:
    """The name of a database with our schema, from which others are copied."""
    # The feed shows a change once all older transactions of the server have ended, also those of other databases.
    await _run(postgres_server.dsn, "ALTER SYSTEM SET autovacuum = off")
    await _run(postgres_server.dsn, "SELECT pg_reload_conf()")
    await _run(postgres_server.dsn, f"CREATE DATABASE {_TEMPLATE}")
    connection = await asyncpg.connect(_dsn(postgres_server, _TEMPLATE))
    await schema.migrate(connection)
    await connection.close()
    return _TEMPLATE


@pytest.fixture
async def database(postgres_server: Server, template: str) -> AsyncIterator[str]:
    """The data source name of a new database with our schema."""
    name = f"test_{next(_NUMBERS)}"
    await _run(postgres_server.dsn, f"CREATE DATABASE {name} TEMPLATE {template}")
    # A node takes a copy for a restored database until its feed is written. Positions have more than 32 bits, as in a
    # database that has been in use.
    await _run(_dsn(postgres_server, name), "UPDATE goverse.feed SET seq_offset = 1::bigint << 40")
    yield _dsn(postgres_server, name)
    await _run(postgres_server.dsn, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EtcdCluster]:
    """The etcd that tests share, with one member."""
    async with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
async def etcd(etcd_server: EtcdCluster) -> EtcdCluster:
    """The shared etcd without keys."""
    await etcd_server.ask("kv/deleterange", {"key": "AA==", "range_end": "AA=="})
    return etcd_server


def _dsn(running: Server, database: str) -> str:
    return f"{running.dsn.rpartition('/')[0]}/{database}"


async def _run(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()
