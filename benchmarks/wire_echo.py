"""Cost of the wire: calls per second through a gate whose node is another process, compared with a raw ASGI echo.

    python -m benchmarks.wire_echo [--seconds 5] [--connections 64] [--rounds 3]

Runs these subjects one after the other, each in fresh processes with uvloop and httptools and without an access log:

* ``echo``: reads the body and responds with a number. It is the upper bound for Python on uvicorn.
* ``gate``: the whole gate over a link in the same process that answers immediately.
* ``wire``: the same gate over a ``GrpcLink`` to a ``LinkServer`` in a second process, whose link answers immediately.
* ``wire, batched``: the same, but the link answers all calls of one event-loop turn together in the next turn.
* ``bare wire``: an application as small as the echo instead of the gate, over the same wire, to isolate its cost.

Compare the ratios, not the numbers, because the load generator shares the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import uvicorn
import uvloop

from benchmarks.gate_echo import CATALOG, SCRIPT, BatchingLink, InstantLink, serve_echo
from benchmarks.ports import free_port
from goverse.model.frames import Operation, Request
from goverse.model.keys import ObjectKey
from goverse.ports.link import Carrier
from goverse.wire.handshake import Hello
from goverse.wire.link import GrpcLink
from goverse.wire.server import LinkServer
from goverse_cli.listener import open_listener
from goverse_gate.app import create_app
from goverse_gate.options import GateOptions
from goverse_gate.server import GateServer

SUBJECTS = ("echo", "gate", "wire", "wire, batched", "bare wire")


async def serve_gate(listener: socket.socket, node: str) -> None:
    """Serve a gate until the process ends; if ``node`` is empty, over a link in this process."""
    link: Carrier = InstantLink()
    if node:
        wire = GrpcLink(node, Hello(kind="gate", id="benchmark"))
        wire.start()
        link = wire
    options = GateOptions(access_log="off")
    server = GateServer(create_app(link, CATALOG, options), options, sockets=[listener])
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def serve_bare(listener: socket.socket, node: str) -> None:
    """Serve an application that only forwards each request to the node."""
    link = GrpcLink(node, Hello(kind="gate", id="benchmark"))
    link.start()
    loop = asyncio.get_running_loop()

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        key = ObjectKey("default", "Counter", "c1")
        request = Request(Operation.CALL, key, "increment", message["body"], loop.time() + 30.0, "r1")
        reply = await link.submit(request)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    config = uvicorn.Config(
        application, interface="asgi3", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False,
    )  # fmt: skip
    print("ready", flush=True)
    await uvicorn.Server(config).serve([listener])


async def serve_node(link_type: type[InstantLink], port: int) -> None:
    """Serve a link until the process ends."""
    server = LinkServer(link_type(), Hello(kind="node", id="benchmark"))
    await server.start(f"127.0.0.1:{port}")
    print("ready", flush=True)
    await asyncio.Event().wait()


def serve(role: str, port: int, node: str) -> None:
    """Run one role in this process."""
    if role == "echo":
        uvloop.run(serve_echo(open_listener("127.0.0.1", port)))
    elif role == "gate":
        uvloop.run(serve_gate(open_listener("127.0.0.1", port), node))
    elif role == "bare":
        uvloop.run(serve_bare(open_listener("127.0.0.1", port), node))
    else:
        uvloop.run(serve_node(BatchingLink if role == "batching node" else InstantLink, port))


@contextmanager
def process(role: str, node: str = "") -> Iterator[str]:
    """Run one role in a child process; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.wire_echo", "--serve", role, "--port", str(port), "--node", node]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            if running.stdout is None or running.stdout.readline().strip() != "ready":
                raise SystemExit(f"{role} did not start")
            yield f"127.0.0.1:{port}"
        finally:
            running.kill()


def measure(subject: str, seconds: int, connections: int) -> tuple[float, str]:
    """Return calls per second and the median latency of one subject."""
    with ExitStack() as running:
        if subject in ("echo", "gate"):
            address = running.enter_context(process(subject))
        else:
            node = running.enter_context(process("batching node" if subject == "wire, batched" else "node"))
            address = running.enter_context(process("bare" if subject == "bare wire" else "gate", node))
        load = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", str(SCRIPT)]
        url = f"http://{address}"
        subprocess.run([*load, "-d1s", url], check=True, capture_output=True)
        output = subprocess.run([*load, f"-d{seconds}s", url], check=True, capture_output=True, text=True).stdout
    rate, median = re.search(r"Requests/sec:\s+([0-9.]+)", output), re.search(r"^\s+50%\s+(\S+)", output, re.MULTILINE)
    if "Non-2xx" in output or "Socket errors" in output or rate is None or median is None:
        raise SystemExit(output)
    return float(rate[1]), median[1]


def main() -> None:
    """Measure everything and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--node", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve, arguments.port, arguments.node)
    rounds = [
        {subject: measure(subject, arguments.seconds, arguments.connections) for subject in SUBJECTS}
        for _ in range(arguments.rounds)
    ]
    print(f"{'':<16}{'calls/s':>10}{'p50':>10}{'of the echo':>14}{'of the gate':>14}")
    for subject in SUBJECTS:
        rate = statistics.median(found[subject][0] for found in rounds)
        of_echo, of_gate = (
            statistics.median(found[subject][0] / found[other][0] for found in rounds) for other in ("echo", "gate")
        )
        print(f"{subject:<16}{rate:>10.0f}{rounds[-1][subject][1]:>10}{of_echo:>14.2f}{of_gate:>14.2f}")
    return None


if __name__ == "__main__":
    main()
