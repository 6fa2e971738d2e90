"""Test bench for links: a node, a link server in front of it, and links to that server over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import grpc

from benchmarks.ports import free_port
from goverse.objects.registry import Registry
from goverse.ports.link import Carrier
from goverse.testing.link_objects import CLASSES
from goverse.wire.handshake import Hello
from goverse.wire.link import GrpcLink
from goverse.wire.link_state import LinkPhase
from goverse.wire.options import WireOptions
from goverse.wire.server import SERVICE, LinkServer
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.nodes import until

GATE = Hello(kind="gate", id="g1", incarnation="i1")
NODE = Hello(kind="node", id="n1", incarnation="i1")
QUICK = WireOptions(backoff_s=0.01, backoff_s_max=0.05, connect_timeout_s=5.0)


@asynccontextmanager
async def ledgers(classes: Sequence[type[Any]] = CLASSES) -> AsyncIterator[Node]:
    """Run a node with the objects of the link contract, or of other classes."""
    store = MemoryStore()
    await store.open()
    node = Node(Registry(classes), store)
    await node.start()
    try:
        yield node
    finally:
        await node.stop(0.0)
        await store.close()


@asynccontextmanager
async def server_of(link: Carrier, **parts: Any) -> AsyncIterator[tuple[LinkServer, str]]:
    """Serve a link on a free port; yield the server and its address."""
    wanted = parts.pop("address", f"127.0.0.1:{free_port()}")  # reserved: another server may take its place
    server = LinkServer(link, parts.pop("hello", NODE), **{"options": QUICK, **parts})
    try:
        port = await server.start(wanted)
        yield server, f"127.0.0.1:{port}"
    finally:
        await server.abort()


@asynccontextmanager
async def link_to(address: str, *, connected: bool = True, **parts: Any) -> AsyncIterator[GrpcLink]:
    """Open a link to an address and, by default, wait until it is connected."""
    hello = parts.pop("hello", GATE)
    link = GrpcLink(address, hello, **{"options": QUICK, **parts})
    link.start()
    try:
        if connected:
            await until(lambda: link.state.phase is LinkPhase.CONNECTED)
        yield link
    finally:
        await link.close()


@dataclass
class Pair:
    """Both ends of a stream, and the node behind the server."""

    node: Node
    server: LinkServer
    link: GrpcLink
    address: str


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[Pair]:
    """Run a node, its link server and a link to it; ``options`` are the wire options of both ends."""
    chosen = replace(QUICK, **options)
    async with (
        ledgers() as node,
        server_of(node, options=chosen) as (server, address),
        link_to(address, options=chosen) as link,
    ):
        yield Pair(node, server, link, address)


@asynccontextmanager
async def stranger(connect: Callable[[Any, Any], Awaitable[None]]) -> AsyncIterator[str]:
    """Run a server whose stream handler is ``connect``, a peer that may break the protocol; yield its address."""
    handler: Any = grpc.stream_stream_rpc_method_handler(cast("Any", connect))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Connect": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
