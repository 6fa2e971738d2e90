"""A node that loses its connection in the middle of a batch: the server lacks only the end of the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from goverse.model.keys import ObjectKey
from goverse.model.records import CommitRecord
from goverse.ports.store import Conflict
from goverse_node.stores.postgres import vigil
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore

SYNC = b"S\x00\x00\x00\x04"
KEY = ObjectKey("default", "Counter", "c")
SHARD = 7
PATIENCE_S = 10.0  # below the node's timeout of a claim


class Cutter:
    """A proxy to the server that holds back the end of the next request, once it is armed."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.armed = False
        self.cut = asyncio.Event()
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.StreamWriter] = []

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client."""
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._clients.append(writer)
        self._servers.append(back)
        for way in (self._carry(reader, back), self._carry(there, writer)):
            task = asyncio.create_task(way)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_cut = False
        with suppress(OSError):
            while data := await reader.read(1 << 20):
                if self.armed and data.endswith(SYNC):
                    self.armed, is_cut = False, True
                    data = data.removesuffix(SYNC)
                    self.cut.set()
                writer.write(data)
                await writer.drain()
        if not is_cut:  # after a cut the server must not notice that the client has gone
            writer.close()

    def drop(self) -> None:
        """Reset the connections of the clients."""
        for client in self._clients:
            client.transport.abort()

    async def close(self) -> None:
        """Stop forwarding and close all connections."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in (*self._clients, *self._servers):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def change(version: int, epoch: int) -> CommitRecord:
    return CommitRecord(KEY, version - 1, version, b"%d" % version, 1, 0, shard=SHARD, epoch=epoch)


@pytest.fixture
async def cutter(database: str) -> AsyncIterator[Cutter]:
    """A proxy to the server, listening at its ``port``."""
    found = Cutter(_port(database))
    way = await asyncio.start_server(found.meet, "127.0.0.1", 0)
    found.port = way.sockets[0].getsockname()[1]
    yield found
    way.close()
    await found.close()


@pytest.fixture
async def first(database: str, cutter: Cutter, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PostgresStore]:
    """A store that is cut off in its second commit."""
    monkeypatch.setattr(vigil, "LOOK_S", 3_600.0)  # otherwise such a look could be cut off instead of the commit
    store = PostgresStore(PostgresOptions(dsn=_through(cutter, database)), owner="n1")
    await store.open()
    assert await store.claim([SHARD], "n1") == {SHARD: 1}
    assert isinstance((await store.commit([change(1, 1)]))[0], int)
    cutter.armed = True
    yield store
    await store.close()


@pytest.mark.requirement("CLU-2", "CLU-9", "DUR-1")
async def test_the_shards_of_a_node_that_was_cut_off_in_a_commit_move_to_another(
    database: str, cutter: Cutter, first: PostgresStore
) -> None:
    second = PostgresStore(PostgresOptions(dsn=database), owner="n2")
    await second.open()
    lost = asyncio.create_task(first.commit([change(2, 1)]))
    await asyncio.wait_for(cutter.cut.wait(), PATIENCE_S)
    assert await asyncio.wait_for(second.claim([SHARD], "n2"), PATIENCE_S) == {SHARD: 2}
    assert isinstance((await asyncio.wait_for(second.commit([change(2, 2)]), PATIENCE_S))[0], int)

    told = (await asyncio.wait_for(lost, PATIENCE_S))[0]
    assert isinstance(told, Conflict)
    assert told.fenced
    found = await second.load(KEY)
    assert found is not None
    assert (found.version, found.state) == (2, b"2")
    await second.close()


@pytest.mark.requirement("DUR-1")
async def test_a_node_that_was_cut_off_in_a_commit_continues_over_another_connection(
    cutter: Cutter, first: PostgresStore
) -> None:
    lost = asyncio.create_task(first.commit([change(2, 1)]))
    await asyncio.wait_for(cutter.cut.wait(), PATIENCE_S)
    cutter.drop()

    assert isinstance((await asyncio.wait_for(lost, PATIENCE_S))[0], int)
    assert [each.version for each in await first.changes(0, 10)] == [1, 2]


async def test_a_store_that_was_cut_off_in_a_look_closes_and_leaves_no_task(
    database: str, cutter: Cutter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "LOOK_S", 0.01)
    store = PostgresStore(PostgresOptions(dsn=_through(cutter, database)), owner="n1")
    await store.open()
    cutter.armed = True
    await asyncio.wait_for(cutter.cut.wait(), PATIENCE_S)
    await asyncio.wait_for(store.close(), PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while names := {task.get_name() for task in asyncio.all_tasks()} & {"goverse-postgres-vigil"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not names


def _through(cutter: Cutter, dsn: str) -> str:
    return dsn.replace(f":{_port(dsn)}/", f":{cutter.port}/")


def _port(dsn: str) -> int:
    return int(dsn.rpartition(":")[2].partition("/")[0])
