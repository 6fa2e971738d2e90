"""The proxy breaks connections in the ways that networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.nodes import until
from tests.tcp_proxy import TcpProxy, Way, proxy_to


class Echo:
    """Answers every byte with itself.

    Attributes:
        heard: all that arrived.
    """

    def __init__(self) -> None:
        self.heard = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            self.heard += data
            writer.write(data)
        writer.close()


class Line:
    """A connection through the proxy.

    Attributes:
        answered: all that came back.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answered = b""
        self.ended = False
        self.say = writer.write
        self.writer = writer
        self.listening = asyncio.create_task(self._listen(reader))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while data := await reader.read(100):
                self.answered += data
        except ConnectionError:
            pass
        finally:
            self.ended = True


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[tuple[Echo, TcpProxy, Line]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with server, proxy_to(server.sockets[0].getsockname()[1]) as proxy:
        line = Line(*await asyncio.open_connection("127.0.0.1", proxy.port))
        line.say(b"1")
        await until(lambda: line.answered == b"1")
        yield echo, proxy, line
        line.writer.close()
        await line.listening


async def test_what_is_held_on_its_way_there_arrives_later(echo: tuple[Echo, TcpProxy, Line]) -> None:
    server, proxy, line = echo
    proxy.hold(Way.THERE)
    line.say(b"2")
    await asyncio.sleep(0.05)
    assert (server.heard, line.answered) == (b"1", b"1")

    proxy.release()

    await until(lambda: line.answered == b"12")


async def test_what_is_held_on_its_way_back_was_heard(echo: tuple[Echo, TcpProxy, Line]) -> None:
    server, proxy, line = echo
    proxy.hold(Way.BACK)
    line.say(b"2")

    await until(lambda: server.heard == b"12")
    assert line.answered == b"1"

    proxy.release()
    await until(lambda: line.answered == b"12")


async def test_what_was_held_is_lost_with_its_connection(echo: tuple[Echo, TcpProxy, Line]) -> None:
    server, proxy, line = echo
    proxy.hold()
    line.say(b"2")
    await asyncio.sleep(0.05)

    proxy.cut()
    proxy.release()

    await until(lambda: line.ended)
    assert (server.heard, line.answered) == (b"1", b"1")
