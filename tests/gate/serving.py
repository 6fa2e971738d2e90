"""A gate on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse.ports.link import Carrier
from goverse_cli.listener import open_listener
from goverse_gate.app import GateApp, create_app
from goverse_gate.options import GateOptions
from goverse_gate.server import GateServer
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.gate.link import PlainLink
from tests.gate.objects import Counter, Room, Store


@dataclass
class Serving:
    """A running gate with its link, application, server and a client."""

    link: PlainLink
    app: GateApp
    server: GateServer
    client: httpx.AsyncClient


ADMIN_TOKEN = "a-token-for-tests-of-administration"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


def new_link() -> PlainLink:
    """Return a link to the test objects."""
    return PlainLink(Counter, Room, Store)


@asynccontextmanager
async def serving(options: GateOptions | None = None, **parts: Any) -> AsyncIterator[Serving]:
    """Serve the test objects on a free loopback port until the end of the block."""
    link = new_link()
    options = options or GateOptions(admin_token=ADMIN_TOKEN)
    async with serving_link(link, link.registry, options, **parts) as (app, server, client):
        yield Serving(link, app, server, client)


@asynccontextmanager
async def serving_node(options: GateOptions | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the test objects from a real node with a memory store."""
    registry = Registry([Counter, Room, Store])
    store = MemoryStore()
    await store.open()
    node = Node(registry, store)
    await node.start()
    try:
        async with serving_link(node, registry, options or GateOptions(access_log="off")) as (_, _, client):
            yield client
    finally:
        await node.stop(0.0)
        await store.close()


@asynccontextmanager
async def serving_link(
    link: Carrier, registry: Registry, options: GateOptions, **parts: Any
) -> AsyncIterator[tuple[GateApp, GateServer, httpx.AsyncClient]]:
    """Serve the objects of ``link`` on a free loopback port."""
    certificates = parts.pop("certificates", None)
    app = create_app(link, describe(registry), options, **parts)
    server = GateServer(app, options, sockets=[open_listener("127.0.0.1", 0)], certificates=certificates)
    await server.start()
    try:
        transport = httpx.AsyncHTTPTransport(verify=False)  # saves loading the system's certificates
        async with httpx.AsyncClient(base_url=server.url, timeout=20, transport=transport) as client:
            yield app, server, client
    finally:
        await server.abort()
