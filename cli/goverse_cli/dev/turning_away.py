"""The supervisor's 503 response while the application cannot be imported or started.

The socket has been listening since the first process served. Without a response, clients would wait until the code is
repaired. The response does not contain the reason, which shows lines of the application's code; the terminal does.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from contextlib import suppress
from typing import Final

from goverse.errors import Unavailable
from goverse.limits import HEAD_READ_TIMEOUT_S, LISTEN_BACKLOG
from goverse.model.frames import Problem
from goverse_gate.problems import RETRY_AFTER_S, document

SENTENCE: Final = (
    "the application cannot be imported or started; see the output of goverse dev, which waits for the next change"
)

_PIECE_BYTES: Final = 1 << 16


async def turn_away(listener: int) -> None:
    """Answer every request on this socket with 503 until cancelled."""
    own = socket.socket(fileno=os.dup(listener))
    server = await asyncio.start_server(_answer, sock=own, backlog=LISTEN_BACKLOG, start_serving=False)
    async with server:
        await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError, EOFError, asyncio.LimitOverrunError):
            async with asyncio.timeout(HEAD_READ_TIMEOUT_S):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(_refusal())
                writer.write_eof()
                while await reader.read(_PIECE_BYTES):  # closing with unread body would reset the connection
                    pass
    finally:
        writer.close()


def _refusal() -> bytes:
    request_id = secrets.token_hex(8)
    body = document(Problem.of(Unavailable(SENTENCE)), 503, request_id)
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n"
        f"retry-after: {RETRY_AFTER_S}\r\ngoverse-request-id: {request_id}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
