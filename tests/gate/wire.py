"""Raw HTTP over a socket, for requests that HTTP client libraries refuse to send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 20.0


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""

    @property
    def code(self) -> str:
        """The code of a problem document."""
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = json.loads(self.body)
        return str(problem["code"])


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take an open connection."""
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes. A closed connection is not an error here, because a response may still be readable."""
        if self._writer.is_closing():
            return
        try:
            self._writer.write(data)
            await asyncio.wait_for(self._writer.drain(), PATIENCE_S)
        except ConnectionError:
            return

    async def head_answer(self) -> Answer:
        """Return the next response, for a HEAD request."""
        return await self.answer(bodiless=True)

    async def answer(self, *, bodiless: bool = False) -> Answer:
        """Return the next response."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            status_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
            headers = dict(line.lower().split(": ", 1) for line in lines)
            size = 0 if bodiless else int(headers.get("content-length", "0"))
            return Answer(int(status_line.split(" ")[1]), headers, await self._reader.readexactly(size))

    async def is_closed(self) -> bool:
        """Wait until the server closes the connection; False if it sends data instead."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self._reader.read(1) == b""
            except ConnectionError:
                return True

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Wire]:
    """Connect to the server at ``url``."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


def request(
    method: str, path: str, body: bytes | None = None, *, headers: dict[str, str] | None = None, host: str = "localhost"
) -> bytes:
    """Return a well-formed request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


async def until(condition: Any) -> None:
    """Wait until ``condition()`` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # the condition is in a server that has no event for it
            await asyncio.sleep(0.005)
