"""A gate on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from goverse.objects.describe import describe
from goverse_gate.app import GateApp, create_app
from goverse_gate.options import GateOptions
from goverse_gate.server import GateServer, open_listener
from tests.gate.link import PlainLink
from tests.gate.objects import Counter, Room, Store


@dataclass
class Serving:
    """A gate that serves, and what is behind it."""

    link: PlainLink
    app: GateApp
    server: GateServer
    client: httpx.AsyncClient


def new_link() -> PlainLink:
    """Return a link to the test objects."""
    return PlainLink(Counter, Room, Store)


@asynccontextmanager
async def serving(options: GateOptions | None = None, **parts: Any) -> AsyncIterator[Serving]:
    """Serve on a free loopback port until the end of the block."""
    options = options or GateOptions()
    link = new_link()
    app = create_app(link, describe(link.registry), options, **parts)
    server = GateServer(app, options, sockets=[open_listener("127.0.0.1", 0)])
    await server.start()
    try:
        transport = httpx.AsyncHTTPTransport(verify=False)  # certificates would be loaded for nothing
        async with httpx.AsyncClient(base_url=server.url, timeout=20, transport=transport) as client:
            yield Serving(link, app, server, client)
    finally:
        await server.abort()
