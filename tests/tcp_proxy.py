"""A TCP proxy between a client and a server, by which a test breaks connections on purpose."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import Enum, auto

from benchmarks.ports import free_port

CHUNK = 64 * 1024
_ACCEPT_STEPS = 5  # iterations of asyncio's loop from an accepted socket to the task that serves it, and some more


class Way(Enum):
    """A direction of traffic."""

    THERE = auto()  # from the client to the target
    BACK = auto()


class TcpProxy:
    """A proxy that forwards connections to one port, and delays or breaks them on demand.

    Attributes:
        port: the port of the proxy.
        target_port: the port to which it forwards.
        streams_begun: number of connections that clients opened.
        passed_bytes: number of bytes forwarded in each direction.
    """

    def __init__(self, target_port: int, host: str) -> None:
        self.port = free_port()
        self._host = host
        self.streams_begun = 0
        self.passed_bytes = dict.fromkeys(Way, 0)
        self.target_port = target_port
        self._refusing = False
        self._flowing = {way: asyncio.Event() for way in Way}
        self.release()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. After `stop`, listen on the same port again."""
        self._server = await asyncio.start_server(self._serve, self._host, self.port)

    def cut(self) -> None:
        """Reset every connection, and accept new ones."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset every connection, and every new one until `release`."""
        self._refusing = True
        self.cut()

    def hold(self, *ways: Way) -> None:
        """Keep all connections open and forward nothing, like a network that drops packets. New ones are held too.

        Args:
            ways: the directions to hold; both by default.
        """
        for way in ways or Way:
            self._flowing[way].clear()

    def release(self) -> None:
        """Forward again, beginning with the held bytes, and accept connections again."""
        self._refusing = False
        for flowing in self._flowing.values():
            flowing.set()

    async def stop(self) -> None:
        """Stop listening, and reset every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for _ in range(_ACCEPT_STEPS):  # a connection that was just accepted has no task yet
                await asyncio.sleep(0)
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.streams_begun += 1
        self._writers.add(writer)
        onward: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            back, onward = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers.add(onward)
            pumps = [
                asyncio.ensure_future(self._pump(reader, onward, Way.THERE)),
                asyncio.ensure_future(self._pump(back, writer, Way.BACK)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the target does not listen, or the proxy was stopped
        finally:
            for one in (writer, onward):
                if one is not None:
                    one.transport.abort()
                    self._writers.discard(one)
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flowing[way].wait()
                writer.write(data)
                self.passed_bytes[way] += len(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def proxy_to(target_port: int, *, host: str = "127.0.0.1") -> AsyncIterator[TcpProxy]:
    """Run a proxy in front of a port until the block ends."""
    proxy = TcpProxy(target_port, host)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
