"""A TCP proxy between a link and its server, which can cut connections or hold back all bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """A proxy that forwards bytes, unless a test blocks it."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.connections = 0
        self.address = ""

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    def block(self) -> None:
        """Hold back all bytes and keep the connections open."""
        self._flows.clear()

    def unblock(self) -> None:
        """Forward bytes again."""
        self._flows.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            behind, before = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self._pass(reader, before), self._pass(behind, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def proxy_to(target: str) -> AsyncIterator[Proxy]:
    """Run a proxy in front of a target, on a free port."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        proxy.unblock()
        server.close()
        proxy.cut()
        await server.wait_closed()
