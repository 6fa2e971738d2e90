"""Start other systems, each in a network namespace that has only the loopback interface.

They have fixed ports, some listen on all addresses, and some leave daemons running. A namespace isolates all of that,
and the remaining processes end with it. The load generator must run in the namespace too (``Peer.prefix``). Creating a
namespace needs root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / ".benchmark-peers"
START_TIMEOUT_S = 90.0
END_TIMEOUT_S = 15.0
_REGISTRATION = {"uri": "http://127.0.0.1:9080", "use_http_11": True}


@dataclass(frozen=True)
class Peer:
    """A running system, and the command prefix that runs a client in its namespace."""

    url: str
    prefix: tuple[str, ...]


def available() -> bool:
    """Return True if this process can create network namespaces."""
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in ("unshare", "nsenter", "ip"))


def install(name: str) -> None:
    """Install a system in an environment of its own, unless it is installed already."""
    subprocess.run([str(ROOT / "scripts" / "benchmark_peers.sh"), str(INSTALLED), name], check=True)


@contextmanager
def namespace() -> Iterator[tuple[str, ...]]:
    """Create a namespace with only loopback, yield the prefix of commands in it, and end all its processes at exit."""
    command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]
    holder = subprocess.Popen([*command, "ip link set lo up && echo up && exec sleep infinity"], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != b"up\n":
            raise SystemExit("could not create a network namespace")
        (first,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text(encoding="ascii").split()
        yield ("nsenter", "--target", first, "--net", "--pid", "--mount", "--")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def _start(undo: ExitStack, log: Path, command: Sequence[str], **variables: str) -> None:
    """Start a process that ends with its namespace."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=out, stderr=out, cwd=log.parent)
    undo.callback(process.wait, END_TIMEOUT_S)


def _until(prefix: Sequence[str], *request: str, log: Path) -> None:
    """Send a request until it succeeds."""
    end_at = time.monotonic() + START_TIMEOUT_S
    while subprocess.run([*prefix, "curl", "-sf", "-o", "/dev/null", *request], check=False).returncode:
        if time.monotonic() > end_at:
            raise SystemExit(f"{request[-1]} does not respond:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)


@contextmanager
def restate(folder: Path) -> Iterator[Peer]:
    """Run Restate with its Python SDK: two uvicorn workers, HTTP/1.1 between server and service."""
    folder.mkdir(parents=True)
    log = folder / "log"
    with ExitStack() as undo, namespace() as prefix:
        binaries = INSTALLED / "restate" / "bin"
        service = [
            str(binaries / "uvicorn"),
            "restate_counter:app",
            "--workers",
            "2",
            "--port",
            "9080",
            "--no-access-log",
        ]
        _start(undo, log, [*prefix, *service, "--app-dir", str(Path(__file__).parent)])
        server = str(INSTALLED / "restate" / "node_modules" / ".bin" / "restate-server")
        base = ["--bind-ip", "127.0.0.1", "--base-dir", str(folder / "data")]
        _start(undo, log, [*prefix, server, *base], RESTATE_DISABLE_TELEMETRY="true", RUST_LOG="warn")
        _until(prefix, "http://127.0.0.1:9070/health", log=log)
        registration = ["-H", "Content-Type: application/json", "-d", json.dumps(_REGISTRATION)]
        _until(prefix, *registration, "http://127.0.0.1:9070/deployments", log=log)
        call = ["-H", "Content-Type: application/json", "-d", "1"]
        _until(prefix, *call, "http://127.0.0.1:8080/Counter/c0/increment", log=log)
        yield Peer("http://127.0.0.1:8080", prefix)


def restate_sum(peer: Peer) -> float:
    """Return the sum of the values of all counters in Restate."""
    query = "SELECT sum(cast(value_utf8 AS bigint)) AS total FROM state WHERE service_name = 'Counter'"
    request = ["-H", "Content-Type: application/json", "-H", "Accept: application/json"]
    request += ["-d", json.dumps({"query": query}), "http://127.0.0.1:9070/query"]
    answer = subprocess.run([*peer.prefix, "curl", "-sf", *request], check=True, capture_output=True).stdout
    return float(json.loads(answer)["rows"][0]["total"])


@contextmanager
def ray_serve(folder: Path) -> Iterator[Peer]:
    """Run Ray Serve behind its HAProxy: one address for all keys, counters sharded over two actors."""
    folder.mkdir(parents=True)
    log = folder / "log"
    with ExitStack() as undo, namespace() as prefix:
        program = [str(INSTALLED / "ray" / "bin" / "python"), str(Path(__file__).with_name("ray_counter.py")), "8000"]
        _start(undo, log, [*prefix, *program], RAY_SERVE_ENABLE_HA_PROXY="1", RAY_USAGE_STATS_ENABLED="0")
        _until(prefix, "-d", '{"by":1}', "http://127.0.0.1:8000/Counter/c0", log=log)
        yield Peer("http://127.0.0.1:8000", prefix)
