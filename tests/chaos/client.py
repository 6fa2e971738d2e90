"""A lightweight HTTP client for gates, so that a run measures the cluster and not its client.

Connections are reused, with one call at a time on each. Errors distinguish between calls that were sent and calls that
were not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote


class Unreached(Exception):
    """The connection to the gate failed: the call was not sent."""


class Broken(Exception):
    """The connection broke after the call was sent: the call may or may not have taken effect."""


@dataclass(frozen=True)
class Answer:
    """A response of a gate."""

    status: int
    text: str

    def value(self) -> Any:
        """Return the result, or the members of the error document."""
        return json.loads(self.text)


UNAVAILABLE: Final = (429, 503, 504)
"""Statuses after which a call may be repeated."""

RETRY_PAUSE_S: Final = 0.02

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """A pool of connections to gates."""

    def __init__(self, patience_s: float) -> None:
        """Set the timeout of a call."""
        self._patience_s = patience_s
        self._idle: dict[str, list[Connection]] = defaultdict(list)

    async def call(self, gate: str, key: tuple[str, str], method: str, body: Any, headers: dict[str, str]) -> Answer:
        """Call a method of the object with type and id ``key``.

        Raises:
            Unreached: the call was not sent.
            Broken: the call may have taken effect.
        """
        reader, writer = await self._connection(gate)
        try:
            writer.write(_request(f"/objects/{key[0]}/{quote(key[1], safe='')}/call/{method}", body, headers))
            async with asyncio.timeout(self._patience_s):
                answer, stays = await _answer(reader)
        except (OSError, EOFError) as error:
            writer.close()
            raise Broken(f"{gate}: {error!r}") from error
        except BaseException:
            writer.close()
            raise
        if stays:
            self._idle[gate].append((reader, writer))
        else:
            writer.close()
        return answer

    async def insist(self, gate: str, key: tuple[str, str], method: str, name: str = "", **body: Any) -> Any:
        """Repeat a call until it is answered, and return its result.

        ``name`` is its idempotency key. A call without one has to be readonly, or to change nothing when repeated.

        Raises:
            TimeoutError: it was not answered in time.
            AssertionError: the answer is an error.
        """
        headers = {"Idempotency-Key": name} if name else {}
        async with asyncio.timeout(self._patience_s):
            while True:
                with contextlib.suppress(Broken, Unreached):
                    answer = await self.call(gate, key, method, body, headers)
                    if answer.status not in UNAVAILABLE:
                        assert answer.status == 200, f"{method} of {key}: {answer.status} {answer.text}"
                        return answer.value()
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _connection(self, gate: str) -> Connection:
        idle = self._idle[gate]
        while idle:
            reader, writer = idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        host, _, port = gate.removeprefix("http://").rpartition(":")
        try:
            return await asyncio.open_connection(host, int(port))
        except OSError as error:
            raise Unreached(f"{gate}: {error!r}") from error

    async def close(self) -> None:
        """Close all connections."""
        for _, writer in [each for idle in self._idle.values() for each in idle]:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self._idle.clear()


def _request(path: str, body: Any, headers: dict[str, str]) -> bytes:
    data = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


async def _answer(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    """Return the next response, and whether the connection can be reused."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status, *lines = head.splitlines()
    headers = dict(line.split(": ", 1) for line in lines if line)
    text = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(status.split(" ")[1]), text.decode()), headers.get("connection") != "close"
