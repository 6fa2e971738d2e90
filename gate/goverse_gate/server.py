"""The gate's HTTP server: uvicorn with bounds, on a socket that somebody may have opened already.

It handles no signals: whoever starts it decides when it drains and stops. Stopping is readiness first, then no new
connections, then the end of what runs, within the drain timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn

from goverse.errors import ConfigError
from goverse.limits import LISTEN_BACKLOG
from goverse_gate.app import GateApp
from goverse_gate.options import GateOptions
from goverse_gate.protocol import BoundedProtocol, ConnectionLimits, bounded_protocol

SWEEP_PERIOD_S: Final = 1.0
CANCELLED_GRACE_S: Final = 1.0  # for calls that were cut off to still send their 503


class _Uvicorn(uvicorn.Server):
    """uvicorn without signal handlers, that says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()


class GateServer:
    """Serves one gate on one socket."""

    def __init__(self, app: GateApp, options: GateOptions, listener: socket.socket) -> None:
        """Prepare to serve on ``listener``, which this server closes in the end."""
        self._app = app
        self._options = options
        self._listener = listener
        self._address = listener.getsockname()[:2]
        self._task: asyncio.Task[None] | None = None
        limits = ConnectionLimits(
            options.connections_max, options.head_read_timeout_s, options.write_stall_timeout_s
        )
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http=bounded_protocol(limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=LISTEN_BACKLOG,
            timeout_keep_alive=math.ceil(options.keep_alive_timeout_s),
            timeout_graceful_shutdown=math.ceil(options.drain_timeout_s),
        )
        self._uvicorn = _Uvicorn(config)
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def url(self) -> str:
        """Where the gate can be reached."""
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._address[1])

    async def start(self) -> None:
        """Serve; returns once connections are accepted."""
        self._task = asyncio.create_task(self._uvicorn.serve([self._listener]), name="goverse gate server")
        serving = asyncio.create_task(self._uvicorn.serving.wait())
        await asyncio.wait((self._task, serving), return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        if self._task.done():
            await self._task
        self._sweep()

    async def drain(self, delay_s: float = 0.0) -> None:
        """Turn readiness off, wait ``delay_s`` for load balancers to see it, then let what runs come to its end."""
        self._app.drain()
        await asyncio.sleep(delay_s)
        self._uvicorn.should_exit = True
        await self._ended()

    async def stop(self) -> None:
        """End at once; requests that run are answered with ``draining`` as far as their clients still listen."""
        self._app.drain()
        self._uvicorn.should_exit = True
        self._uvicorn.force_exit = True
        await self._ended()

    async def _ended(self) -> None:
        if self._task is not None:
            await asyncio.shield(self._task)
        if self._sweeper is not None:
            self._sweeper.cancel()
        state = self._uvicorn.server_state
        if state.tasks:
            for task in state.tasks:
                task.cancel()
            await asyncio.wait(state.tasks, timeout=CANCELLED_GRACE_S)
        for connection in list(state.connections):
            connection.transport.abort()
        self._listener.close()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._uvicorn.server_state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.sweep(now)
        self._sweeper = loop.call_later(SWEEP_PERIOD_S, self._sweep)


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: the address is taken, or is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot listen on {host} port {port}: {reason}", setting="gate.port") from error
    listener.setblocking(False)
    return listener
