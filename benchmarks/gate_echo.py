"""Cost of the gate: calls per second through it, compared with a raw ASGI echo on the same server.

    python -m benchmarks.gate_echo [--seconds 5] [--connections 64] [--rounds 3]

Runs these subjects one after the other, each in a fresh process with uvloop and httptools:

* ``echo``: reads the body and responds with a number. It is the upper bound for Python on uvicorn.
* ``gate``: the whole gate over a link that answers many calls together in the next turn of the event loop, like a node
  with group commit.
* ``gate, at once``: the whole gate over a link that has the reply when ``submit`` returns, like a read-only call.

Compare the ratios, not the numbers, because the load generator shares the machine. The ratio of CPU time per call is
valid even if other programs use the machine; the ratio of calls per second is not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import statistics
import subprocess
import sys
from asyncio import Future
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
import uvloop

from benchmarks.ports import free_port
from goverse.model.catalog import MethodDescription, TypeDescription
from goverse.model.frames import Reply, Request
from goverse.model.records import ObjectSummary
from goverse.ports.link import Readiness, Waiter
from goverse_cli.listener import open_listener
from goverse_gate.app import create_app
from goverse_gate.options import GateOptions
from goverse_gate.server import GateServer

SCRIPT = Path(__file__).with_name("increment.lua")
INCREMENT = MethodDescription(
    "increment",
    "Add to the counter",
    "",
    False,
    {"type": "object", "properties": {"by": {"type": "integer", "default": 1}}},
    {"type": "integer"},
)
CATALOG = {
    "Counter": TypeDescription("Counter", "Counts.", {"type": "object"}, {"type": "object"}, {"increment": INCREMENT})
}


class InstantLink:
    """A link that answers before ``submit`` returns."""

    def __init__(self) -> None:
        """Use the running event loop."""
        self._loop = asyncio.get_running_loop()

    def submit(self, request: Request) -> Future[Reply]:
        """Send a call by ``carry``."""
        future: Future[Reply] = self._loop.create_future()
        self.carry(request, future)
        return future

    def carry(self, request: Request, waiter: Waiter) -> None:
        """Reply with a number."""
        del request
        waiter.set_result(Reply(b"1", 7, 123_456))

    async def list(
        self, namespace: str, type_name: str, *, prefix: str, after: str | None, limit: int
    ) -> Sequence[ObjectSummary]:
        """Return an empty listing."""
        del namespace, type_name, prefix, after, limit
        return []

    def readiness(self) -> Readiness:
        """Return that the link is ready."""
        return Readiness(True, (), 0)


class BatchingLink(InstantLink):
    """A link that answers all calls of one event-loop turn together in the next turn."""

    def __init__(self) -> None:
        """Start without calls."""
        super().__init__()
        self._batch: list[Waiter] = []

    def carry(self, request: Request, waiter: Waiter) -> None:
        """Add the call to the batch."""
        del request
        if not self._batch:
            self._loop.call_soon(self._answer)
        self._batch.append(waiter)

    def _answer(self) -> None:
        batch, self._batch = self._batch, []
        for waiter in batch:
            if not waiter.done():
                waiter.set_result(Reply(b"1", 7, 123_456))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and respond with a number."""
    del scope
    more = True
    while more:
        more = (await receive())["more_body"]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"1"})


async def serve_gate(listener: socket.socket, link_type: type[InstantLink]) -> None:
    """Serve a gate until the process ends."""
    options = GateOptions()
    server = GateServer(create_app(link_type(), CATALOG, options), options, sockets=[listener])
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def serve_echo(listener: socket.socket) -> None:
    """Serve the echo until the process ends."""
    config = uvicorn.Config(
        echo, interface="asgi3", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False,
    )  # fmt: skip
    print("ready", flush=True)
    await uvicorn.Server(config).serve([listener])


def serve(subject: str, port: int) -> None:
    """Serve one subject in this process."""
    listener = open_listener("127.0.0.1", port)
    if subject == "echo":
        uvloop.run(serve_echo(listener))
    else:
        uvloop.run(serve_gate(listener, BatchingLink if subject == "gate" else InstantLink))


class Measured(NamedTuple):
    """Result of one run of the load generator."""

    calls_per_s: float
    cpu_us: float
    p50: str


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(subject: str, seconds: int, connections: int) -> Measured:
    """Put one subject under load."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.gate_echo", "--serve", subject, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise SystemExit(f"{subject} did not start")
            load = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", str(SCRIPT)]
            url = f"http://127.0.0.1:{port}"
            subprocess.run([*load, "-d1s", url], check=True, capture_output=True)
            before_s = cpu_s(process.pid)
            output = subprocess.run([*load, f"-d{seconds}s", url], check=True, capture_output=True, text=True).stdout
            used_s = cpu_s(process.pid) - before_s
        finally:
            process.kill()
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(output)
    rate, median = re.search(r"Requests/sec:\s+([0-9.]+)", output), re.search(r"^\s+50%\s+(\S+)", output, re.MULTILINE)
    calls = re.search(r"(\d+) requests in", output)
    if rate is None or median is None or calls is None:
        raise SystemExit(output)
    return Measured(float(rate[1]), used_s / int(calls[1]) * 1e6, median[1])


def main() -> None:
    """Measure everything and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve, arguments.port)
    subjects = ("echo", "gate", "gate, at once")
    rounds = [
        {subject: measure(subject, arguments.seconds, arguments.connections) for subject in subjects}
        for _ in range(arguments.rounds)
    ]
    print(f"{'':<16}{'calls/s':>10}{'of the echo':>13}{'p50':>10}{'CPU µs/call':>13}{'of the echo':>13}")
    for subject in subjects:
        rate = statistics.median(found[subject].calls_per_s for found in rounds)
        share = statistics.median(found[subject].calls_per_s / found["echo"].calls_per_s for found in rounds)
        cpu_us = statistics.median(found[subject].cpu_us for found in rounds)
        economy = statistics.median(found["echo"].cpu_us / found[subject].cpu_us for found in rounds)
        p50 = rounds[-1][subject].p50
        print(f"{subject:<16}{rate:>10.0f}{share:>13.2f}{p50:>10}{cpu_us:>13.1f}{economy:>13.2f}")
    return None


if __name__ == "__main__":
    main()
