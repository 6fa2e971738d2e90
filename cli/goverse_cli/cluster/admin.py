"""HTTP server for the operators of one node: metrics, health, readiness and the log level, on an address of its own.

Gates do not use it, so it is not on the path of calls. Liveness depends on nothing else. Readiness is computed for each
request, with reasons, and never cached. Requests that change something require the admin token
(``goverse_gate.admin_access``).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry

from goverse.errors import AccessDenied, ConfigError, GoverseError
from goverse.model.frames import Problem
from goverse.telemetry.exposition import expose
from goverse_cli.listener import open_listener
from goverse_gate.admin import admin_routes
from goverse_gate.embedded_server import EmbeddedServer, embedded_config
from goverse_gate.options import GateOptions
from goverse_gate.problems import document, status_of

SETTING: Final = "cluster.admin_listen"
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 7480

_PORT_MAX: Final = 65_535

Report = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Returns True if the process is ready, and the details of its readiness."""


def listen(address: str) -> socket.socket:
    """Return a listening socket for the setting ``cluster.admin_listen``.

    Raises:
        ConfigError: the address is invalid, in use, or not an address of this machine.
    """
    if not address:
        try:
            return open_listener(DEFAULT_HOST, DEFAULT_PORT, setting=SETTING)
        except ConfigError:
            return open_listener(DEFAULT_HOST, 0, setting=SETTING)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _PORT_MAX:
        raise ConfigError(
            f"{address!r} is not an address with a port, for example 0.0.0.0:{DEFAULT_PORT}", setting=SETTING
        )
    return open_listener(host.strip("[]"), int(port), setting=SETTING)


class AdminServer:
    """HTTP server for the operators of one node."""

    def __init__(
        self,
        registry: CollectorRegistry,
        report: Report,
        listener: socket.socket,
        access: GateOptions | None = None,
    ) -> None:
        """Prepare to serve ``registry`` and ``report`` on ``listener``, which ``stop`` closes.

        Only the administration options of ``access`` are used.
        """
        self._listener = listener
        app = _app(registry, report, access or GateOptions())
        self._server = EmbeddedServer(embedded_config(app, timeout_graceful_shutdown=1))
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to serve."""
        self._serving = asyncio.create_task(self._server.serve([self._listener]), name="goverse-admin")

    async def stop(self) -> None:
        """Stop serving and close the listener."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        self._listener.close()


def _app(registry: CollectorRegistry, report: Report, access: GateOptions) -> FastAPI:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    async def readyz() -> Response:
        ready, told = report()
        status = 200 if ready else 503
        return JSONResponse({"ready": ready, **told}, status, headers={"cache-control": "no-store"})

    async def metrics(request: Request) -> Response:
        # In the event loop, not in a thread: the metrics are plain Python values that only the loop may change.
        exposed = expose(registry, ",".join(request.headers.getlist("accept")))
        return Response(exposed.body, headers={"content-type": exposed.content_type})

    async def refused(request: Request, error: Exception) -> Response:
        del request
        problem = Problem.of(error if isinstance(error, GoverseError) else GoverseError())
        status = status_of(problem)
        return Response(document(problem, status, ""), status, media_type="application/problem+json")

    for path in ("/healthz", "/livez"):
        app.add_api_route(path, healthz)
    for path in ("/readyz", "/ready"):
        app.add_api_route(path, readyz)
    app.add_api_route("/metrics", metrics)
    app.include_router(admin_routes(access, None, None), dependencies=[Depends(_no_foreign_page)])
    app.add_exception_handler(GoverseError, refused)
    return app


async def _no_foreign_page(request: Request) -> None:
    """Refuse requests that a web page made: cross-origin requests, and DNS rebinding to this machine.

    Raises:
        AccessDenied: the request has an ``Origin`` header, or its host name is not a loopback name.
    """
    if "origin" in request.headers or request.url.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise AccessDenied(
            "web pages may not use administration paths; send the request to localhost or 127.0.0.1, without Origin",
            rule="admin",
        )
