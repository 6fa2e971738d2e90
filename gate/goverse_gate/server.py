"""The gate's HTTP server: uvicorn with ``BoundedProtocol``, on sockets that the caller has opened.

The server handles no signals; its caller decides when to drain and stop it. Stopping has three steps: readiness goes
off, listeners close, and requests in progress finish within the drain timeout.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final, cast

import uvicorn

from goverse.limits import LISTEN_BACKLOG
from goverse.tls.rotation import Rotating
from goverse_gate.app import GateApp
from goverse_gate.embedded_server import EmbeddedServer, embedded_config
from goverse_gate.fast_path import FastPath
from goverse_gate.memory_bounds import Unsent
from goverse_gate.options import GateOptions
from goverse_gate.protocol import BoundedProtocol, ConnectionLimits, bounded_protocol
from goverse_gate.tls import NewestContext

SWEEP_PERIOD_S: Final = 1.0
FIRST_REQUEST_GRACE_S: Final = 0.25
CANCELLED_GRACE_S: Final = 1.0  # for cancelled requests to send their 503
_POLL_S: Final = 0.01


class _Uvicorn(EmbeddedServer):
    """uvicorn with an event for the start of serving, its own TLS listeners, and a grace for new connections."""

    def __init__(self, config: uvicorn.Config, context: ssl.SSLContext | None, handshake_timeout_s: float) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()
        self._context = context
        self._handshake_timeout_s = handshake_timeout_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._context is None:
            await super().startup(sockets)
        else:
            await super().startup([])  # uvicorn's own listeners allow a minute for each TLS handshake
            for listener in sockets or ():
                self.servers.append(await self._listen(listener, self._context))
        self.serving.set()

    async def _listen(self, listener: socket.socket, context: ssl.SSLContext) -> asyncio.Server:
        config, protocol = self.config, cast("Any", self.config.http_protocol_class)
        return await asyncio.get_running_loop().create_server(
            lambda: protocol(config=config, server_state=self.server_state, app_state=self.lifespan.state),
            sock=listener,
            ssl=context,
            ssl_handshake_timeout=self._handshake_timeout_s,
            backlog=config.backlog,
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, wait up to ``FIRST_REQUEST_GRACE_S``, then close idle connections.

        A connection that was accepted a moment ago looks idle until its first request arrives. Closing it immediately
        would fail that request, although another process may already be listening on the same socket.
        """
        for server in self.servers:
            server.close()
        end = asyncio.get_running_loop().time() + FIRST_REQUEST_GRACE_S
        connections, now = self.server_state.connections, asyncio.get_running_loop().time
        while connections and not self.force_exit and now() < end:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_POLL_S)
        await super().shutdown(sockets)


class GateServer:
    """The server of one gate."""

    def __init__(
        self,
        app: GateApp,
        options: GateOptions,
        *,
        sockets: Sequence[socket.socket],
        certificates: Rotating[ssl.SSLContext] | None = None,
    ) -> None:
        """Prepare to serve HTTPS, or HTTP without ``certificates``. The server closes the listening ``sockets``."""
        self._app = app
        self._sockets = list(sockets)
        self._address = self._sockets[0].getsockname()[:2]
        context = None if certificates is None else NewestContext(certificates)
        self._scheme = "http" if context is None else "https"
        self._unsent = Unsent(options.answers_bytes_max)
        config = _uvicorn_config(app, options, self._unsent)
        self._uvicorn = _Uvicorn(config, context, options.head_read_timeout_s)
        self._serving: asyncio.Task[None] | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def url(self) -> str:
        """The URL of the gate."""
        host, port = self._address
        return f"{self._scheme}://[{host}]:{port}" if ":" in host else f"{self._scheme}://{host}:{port}"

    async def start(self) -> None:
        """Start serving. Returns once connections are accepted."""
        self._serving = asyncio.create_task(self._uvicorn.serve(self._sockets), name="goverse gate server")
        accepting = asyncio.create_task(self._uvicorn.serving.wait())
        await asyncio.wait((self._serving, accepting), return_when=asyncio.FIRST_COMPLETED)
        accepting.cancel()
        if self._serving.done():
            await self._serving
        self._sweep()

    async def drain(self, delay_s: float = 0.0) -> None:
        """Turn readiness off, close each connection after its next response, and wait ``delay_s``.

        The delay gives load balancers time to notice.
        """
        self._app.drain()
        await asyncio.sleep(delay_s)

    async def stop(self) -> None:
        """Stop gracefully: turn readiness off, close the listeners, and wait for requests in progress.

        Requests that do not finish within the drain timeout are answered with ``draining``.
        """
        self._app.drain()
        self._uvicorn.should_exit = True
        await self._end()

    async def abort(self) -> None:
        """Stop immediately. Requests in progress are answered with ``draining``."""
        self._uvicorn.force_exit = True
        await self.stop()

    async def _end(self) -> None:
        if self._serving is not None:
            await asyncio.shield(self._serving)
        if self._sweeping is not None:
            self._sweeping.cancel()
        state = self._uvicorn.server_state
        tasks = set(state.tasks)
        for task in tasks:
            task.cancel()
        for connection in list[object](state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.cut_off()
        await asyncio.wait([*tasks, asyncio.ensure_future(asyncio.sleep(0))], timeout=CANCELLED_GRACE_S)
        for connection in list(state.connections):
            connection.transport.close()
        for listener in self._sockets:
            listener.close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._sweeping = loop.call_later(SWEEP_PERIOD_S, self._sweep)
        for connection in list[object](self._uvicorn.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.sweep(now)
        self._unsent.enforce()


def _uvicorn_config(app: GateApp, options: GateOptions, unsent: Unsent) -> uvicorn.Config:
    limits = ConnectionLimits(
        options.connections_max,
        options.head_read_timeout_s,
        options.write_stall_timeout_s,
        options.keep_alive_timeout_s,
    )
    return embedded_config(
        app,
        interface="asgi3",
        http=bounded_protocol(limits, FastPath(app.objects, options.body_bytes_max), unsent),
        backlog=LISTEN_BACKLOG,
        timeout_keep_alive=math.ceil(options.keep_alive_timeout_s),
        timeout_graceful_shutdown=math.ceil(options.drain_timeout_s),
    )
