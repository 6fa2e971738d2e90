"""The link server: serves a link of this process to other processes.

It also serves gRPC's standard health service, which reports the current readiness of the link. There are two ways to
stop: ``drain`` announces the end, refuses new work, finishes running requests and closes; ``abort`` only closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from goverse.errors import ConfigError, PeerError
from goverse.ports.link import Carrier, Readiness
from goverse.wire import codec
from goverse.wire.handshake import Hello, agree
from goverse.wire.incoming import Occupancy
from goverse.wire.options import WireOptions
from goverse.wire.peer import Context, Peer
from goverse.wire.peer_role import PeerRole, RoleNames, certificate_names
from goverse.wire.stats import WireStats
from goverse.wire.v1 import wire_pb2 as messages

SERVICE: Final = "goverse.wire.v1.Link"
_POLL_S: Final = 0.005
_STOP_S: Final = 0.25  # time for streams to receive their final status

logger = logging.getLogger("goverse.wire")


class LinkServer:
    """Serves one link to any number of peers."""

    def __init__(
        self,
        link: Carrier,
        hello: Hello,
        *,
        options: WireOptions | None = None,
        credentials: grpc.ServerCredentials | None = None,
        roles: RoleNames | None = None,
        stats: WireStats | None = None,
        new_server: Callable[..., grpc.aio.Server] = grpc.aio.server,
    ) -> None:
        """Serve ``link`` and present ``hello`` to peers. Without ``credentials`` streams are not encrypted.

        With ``roles``, a peer may send what its certificate allows; without, everything.
        ``new_server`` creates the gRPC server; the simulation replaces it.
        """
        self._link = link
        self._options = options or WireOptions()
        self._hello = replace(hello, inflight_max=self._options.inflight_max)
        self._credentials = credentials
        self._roles = roles
        self._new_server = new_server
        self._occupancy = Occupancy(self._options.inflight_total_max)
        self._stats = stats or WireStats()
        self._stats.under_way[self] = lambda: self._occupancy.requests
        self._peers: dict[Peer, None] = {}  # not a set: the order of work must not depend on addresses in memory
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()
        self._serving: bool | None = None
        self._ticker: asyncio.Task[None] | None = None

    @property
    def peers(self) -> tuple[Hello, ...]:
        """The hello of each peer that has an open stream."""
        return tuple(peer.hello for peer in self._peers)

    @property
    def inflight(self) -> int:
        """Number of requests in progress on all streams."""
        return self._occupancy.requests

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self, address: str) -> int:
        """Listen on ``address`` (``host:port``; port 0 for any free port) and return the port.

        Raises:
            ConfigError: cannot listen on the address.
        """
        server = self._new_server(options=self._options.server)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(cast("Any", self._connect))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Connect": handler}),))
        health_pb2_grpc.add_HealthServicer_to_server(cast("Any", self._health), server)
        try:
            if self._credentials is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {address}: {error}") from error
        await server.start()
        self._server = server
        await self._report_health(self._link.readiness())
        self._ticker = asyncio.get_running_loop().create_task(self._tick(), name="goverse-wire-tick")
        return port

    async def drain(self, timeout_s: float, reason: str = "the node is shutting down") -> None:
        """Refuse new work, finish running requests, and close. Gives up what is unanswered after ``timeout_s``."""
        if self._server is None:
            return
        self._occupancy.draining = reason
        await self._report_health(Readiness(False, (reason,), 0))
        for peer in self._peers:
            peer.go_away(reason)
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while any(peer.owes for peer in self._peers) and loop.time() < end:  # noqa: ASYNC110  # only while stopping
            await asyncio.sleep(_POLL_S)
        await self.abort()

    async def abort(self) -> None:
        """Close all streams immediately; requests that have not started are dropped."""
        server, self._server = self._server, None
        if server is None:
            return
        for peer in self._peers:
            peer.end()
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        await server.stop(_STOP_S)

    # --- one stream ---------------------------------------------------------------------------------------------------

    async def _connect(self, _requests: object, context: Context) -> None:
        try:
            peer, first = await self._handshake(context)
        except PeerError as error:
            self._stats.failed += 1
            logger.warning("stream refused", extra={"peer": context.peer(), "reason": error.detail})
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.detail)
        self._peers[peer] = None
        self._stats.connections += 1
        self._stats.opened += 1
        logger.info("stream opened", extra={"peer": str(peer.hello), "address": context.peer()})
        try:
            await peer.run(context, first)
        except PeerError as error:
            self._stats.cut += 1
            fields = {"peer": str(peer.hello), "reason": error.detail}
            logger.warning("stream closed after a protocol error", extra=fields)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.detail)
        finally:
            self._stats.connections -= 1
            self._peers.pop(peer, None)

    async def _handshake(self, context: Context) -> tuple[Peer, messages.Envelope]:
        """Perform the handshake. Returns the peer, and the first envelope to send to it."""
        if len(self._peers) >= self._options.streams_max:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams are open")
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                data = await cast("Any", context).read()
        except TimeoutError:
            raise PeerError("the peer sent no hello in time") from None
        if data is grpc.aio.EOF:
            raise PeerError("the peer closed the stream before the handshake")
        hello = codec.read_hello(codec.parse(data))
        agreement, role = agree(self._hello, hello), self._role_of(hello, context)
        # Sent before the first message: if that message were cancelled, gRPC would try to send the metadata twice.
        await context.send_initial_metadata(())
        peer = Peer(
            hello,
            agreement,
            link=self._link,
            options=self._options,
            occupancy=self._occupancy,
            stats=self._stats,
            role=role,
        )
        first = messages.Envelope()
        codec.write_hello(self._hello, first.hello)
        if self._occupancy.draining is not None:
            first.goaway.reason = self._occupancy.draining  # needs no ping: the peer sends no work before it reads this
        return peer, first

    def _role_of(self, hello: Hello, context: Context) -> PeerRole:
        """Return what the peer may send.

        Raises:
            PeerError: its certificate is that of no gate or node, or it says that it is a node and is not.
        """
        if self._roles is None:
            return PeerRole.NODE
        names = certificate_names(context.auth_context())
        role = self._roles.role_of(names)
        if hello.kind == "node" and role is not PeerRole.NODE:
            raise PeerError(
                f"{hello} shows a certificate that is not that of a node: it does not carry the name "
                f"{self._roles.node} (wire.tls_name); its names are: {', '.join(names) or 'none'}"
            )
        return role

    # --- time ---------------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._options.tick_s)
            readiness = self._link.readiness()
            now = loop.time()
            for peer in tuple(self._peers):
                peer.tick(now, readiness)
            await self._report_health(readiness)

    async def _report_health(self, readiness: Readiness) -> None:
        ready = readiness.ready and self._occupancy.draining is None
        if ready is self._serving:
            return
        self._serving = ready
        status = health_pb2.HealthCheckResponse
        for service in ("", SERVICE):
            await self._health.set(service, status.SERVING if ready else status.NOT_SERVING)
