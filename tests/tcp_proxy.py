"""A TCP proxy between a client and a server, by which a test breaks connections on purpose."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import Enum, auto

from benchmarks.ports import free_port

CHUNK = 64 * 1024


class Way(Enum):
    """In which direction bytes go."""

    THERE = auto()  # from whoever connected to the target
    BACK = auto()


class TcpProxy:
    """Passes bytes on to one port, until it is told otherwise.

    Attributes:
        port: where to connect instead.
        streams_begun: how many connections were made through it.
        passed_bytes: how many bytes were passed on each way.
    """

    def __init__(self, target_port: int, host: str) -> None:
        self.port = free_port()
        self._host = host
        self.streams_begun = 0
        self.passed_bytes = dict.fromkeys(Way, 0)
        self._target_port = target_port
        self._refusing = False
        self._flowing = {way: asyncio.Event() for way in Way}
        self.release()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; on the same port again where it listened before."""
        self._server = await asyncio.start_server(self._serve, self._host, self.port)

    def cut(self) -> None:
        """Reset every connection; new ones are made."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def refuse(self) -> None:
        """Reset every connection, and those that are still made."""
        self._refusing = True
        self.cut()

    def hold(self, *ways: Way) -> None:
        """Keep every connection, new ones too, and pass nothing on: what a network does that drops packets.

        Args:
            ways: only these; both where none is named.
        """
        for way in ways or Way:
            self._flowing[way].clear()

    def release(self) -> None:
        """Pass everything on again, first of all what was held."""
        self._refusing = False
        for flowing in self._flowing.values():
            flowing.set()

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
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
            back, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
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
            pass  # nobody is there behind, or the proxy was stopped
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
    """A proxy that listens, until the block ends."""
    proxy = TcpProxy(target_port, host)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
