"""``goverse node``: one node of a cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from goverse_cli.commands.dev import Target
from goverse_cli.failure import needing
from goverse_cli.invocation import invocation_of

if TYPE_CHECKING:
    from goverse_node.ownership.shutdown import Shutdown

logger = logging.getLogger("goverse.node")

Listen = Annotated[
    str | None, typer.Option(help="Address and port for calls (cluster.listen).", show_default="127.0.0.1:7400")
]
Id = Annotated[str | None, typer.Option("--id", help="Name of the node (node.id).", show_default="POD_NAME or local")]


def node(context: typer.Context, target: Target, *, listen: Listen = None, node_id: Id = None) -> None:
    """Serve the object types of an application as one node of a cluster.

    Nodes that use the same etcd and the same cluster.name form a cluster. Objects are stored in PostgreSQL; create
    its schema first (`goverse db init`, `goverse db migrate`).

    \b
    How a node stops:
      SIGTERM, SIGINT   moves its shards to other nodes, then exits
      SIGQUIT           exits soon; its shards wait a few seconds for the same node to restart
      a second signal   exits immediately

    \b
    Examples:
      goverse node app.py --id node-1 --listen 127.0.0.1:7401
      GOVERSE_ETCD__ENDPOINTS=http://etcd:2379 GOVERSE_POSTGRES__DSN=postgresql://db/goverse goverse node shop/
    """
    from goverse.objects.application import load_application  # noqa: PLC0415
    from goverse.telemetry import logs  # noqa: PLC0415
    from goverse.telemetry.own_loggers import adopt  # noqa: PLC0415
    from goverse_cli.cluster.node import ServingNode, serve_node  # noqa: PLC0415 - keeps other commands fast
    from goverse_cli.event_loop import run_server  # noqa: PLC0415

    logs.begin(os.environ)
    flags = {"cluster.listen": ("--listen", listen), "node.id": ("--id", node_id)}
    values = invocation_of(context).settings(flags).values
    logs.configure(values.log.format, values.log.level, node=values.node.id)
    application = load_application(target)
    adopt()

    async def run() -> None:
        stop = _listen_to_signals()

        def started(serving: ServingNode) -> None:
            logger.info("node started", extra={"node": serving.id, "address": serving.address, "admin": serving.admin})

        await serve_node(application, values, started=started, stop=stop)

    with needing(f"etcd (etcd.endpoints: {', '.join(values.etcd.endpoints)}) and PostgreSQL (postgres.dsn)"):
        run_server(run())


def _listen_to_signals() -> asyncio.Future[Shutdown]:
    from goverse_node.ownership.shutdown import Shutdown  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    stop: asyncio.Future[Shutdown] = loop.create_future()

    def on_signal(how: Shutdown) -> None:
        if stop.done():
            signal.raise_signal(signal.SIGKILL)  # the second signal: committed state is in the database already
        stop.set_result(how)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, Shutdown.GRACEFUL)
    loop.add_signal_handler(signal.SIGQUIT, on_signal, Shutdown.FAST)
    return stop
