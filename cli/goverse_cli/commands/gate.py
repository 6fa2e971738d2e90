"""``goverse gate``: one gate of a cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from functools import partial

import typer

from goverse_cli.commands.dev import Host, Port, Web, check_web
from goverse_cli.failure import needing
from goverse_cli.invocation import invocation_of
from goverse_cli.listener import bind

logger = logging.getLogger("goverse.gate")


def gate(context: typer.Context, *, host: Host = None, port: Port = None, web: Web = None) -> None:
    """Serve the objects of a cluster over HTTP.

    A gate routes each call to the node that owns the object. It reads the nodes, their object types and the owners of
    shards from etcd. A gate is stateless, so you can run any number of gates behind a load balancer.

    \b
    Examples:
      goverse gate --port 8000
      goverse gate --web web/
      GOVERSE_ETCD__ENDPOINTS=http://etcd:2379 goverse gate
    """
    from goverse.telemetry import logs  # noqa: PLC0415
    from goverse_cli.allotment import keep_within  # noqa: PLC0415
    from goverse_cli.cluster.gate import serve_gate  # noqa: PLC0415 - a late import keeps other commands fast
    from goverse_cli.event_loop import run_server  # noqa: PLC0415

    logs.begin(os.environ)
    flags = {"gate.host": ("--host", host), "gate.port": ("--port", port), "gate.web_dir": ("--web", web)}
    values = (settings := invocation_of(context).settings(flags)).values
    logs.configure(values.log.format, values.log.level, node=values.node.id)
    check_web(values)

    async def run() -> None:
        keep_within(values)
        stop = asyncio.Event()

        def on_signal() -> None:
            if stop.is_set():
                signal.raise_signal(signal.SIGKILL)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, on_signal)

        started = partial(_log_start, values.node.id)
        await serve_gate(settings, listener=listener, started=started, stop=stop)

    with bind(values.gate.host, values.gate.port) as listener, needing(f"etcd ({', '.join(values.etcd.endpoints)})"):
        run_server(run())


def _log_start(gate_id: str, url: str) -> None:
    logger.info("gate started", extra={"gate": gate_id, "url": url, "docs": f"{url}/docs"})
