"""uvicorn as a part of a process that handles signals itself and decides when to stop serving."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import uvicorn


class EmbeddedServer(uvicorn.Server):
    """uvicorn without signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signal handlers of the process as they are."""
        yield


def embedded_config(app: Any, **more: Any) -> uvicorn.Config:
    """Return settings for HTTP alone: no WebSocket, no lifespan, and no log, headers or proxies of uvicorn's own."""
    return uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **more,
    )
