"""A cluster on this machine: etcd, PostgreSQL, nodes and gates as real processes on loopback, until Ctrl-C.

    python scripts/cluster.py APP [--nodes 3] [--gates 2] [--port 8000] [--web FOLDER]

Each process says its address in a line; kill one with the number that is shown and watch the others take over. Its end
is said, with the command that brings it back. Everything is private to this run and goes away with it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.ports import free_port  # noqa: E402  # found by the line above
from benchmarks.postgres import postgres  # noqa: E402  # as above
from goverse.errors import ConfigError  # noqa: E402  # as above
from goverse_gate.listener import open_listener  # noqa: E402  # as above

PATIENCE_S = 60.0
LOOK_S = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("app")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--gates", type=int, default=2)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--web", type=Path, help="folder of static files that the gates serve at /")
    options = parser.parse_args()
    for number in _SIGNALS:  # also where a shell left the first one ignored
        signal.signal(number, _interrupt)
    for port in range(options.port, options.port + options.gates):
        if is_taken(port):
            raise SystemExit(f"port {port} is taken, perhaps by another `make dev` or `make cluster`; say PORT=8100")
    with ExitStack() as undo:
        try:
            serve(options, undo)
        except KeyboardInterrupt:
            print("stopping")
    return 0


def _interrupt(number: int, frame: object) -> None:
    """Stop, once: everything is ended in order, and a second signal shall not leave half of it behind."""
    del number, frame
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


class Processes:
    """What runs, ended in reverse order."""

    def __init__(self, folder: Path, undo: ExitStack) -> None:
        """Keep logs in ``folder``."""
        self._folder = folder
        self._undo = undo
        self._running: dict[str, tuple[subprocess.Popen[bytes], str]] = {}
        self.environment = {"LOG_FORMAT": "text", **os.environ}

    def start(self, name: str, address: str, command: Sequence[str], **variables: str) -> None:
        """Start a process that ends with this one, in order."""
        log = self._undo.enter_context((self._folder / f"{name}.log").open("wb"))
        environment = {**self.environment, **variables}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self._undo.callback(end, process)
        again = shlex.join(["goverse", *command[3:]]) if "goverse_cli" in command else shlex.join(command)
        self._running[name] = process, " ".join([*(f"{key}={value}" for key, value in variables.items()), again])
        say(name, address, f"pid {process.pid}")

    def tell_ends(self) -> None:
        """Say which processes ended since the last time."""
        for name, (process, again) in list(self._running.items()):
            if process.poll() is not None:
                del self._running[name]
                say(name, f"ended with {process.returncode}", f"to have it back: {again}")

    def start_etcd(self) -> str:
        """Start one member, and return its address."""
        url, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        arguments = [f"--data-dir={self._folder / 'etcd'}", f"--listen-client-urls={url}"]
        arguments += [f"--advertise-client-urls={url}", f"--listen-peer-urls={peer}"]
        arguments += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
        self.start("etcd", url, ["etcd", *arguments])
        return url


def serve(options: argparse.Namespace, undo: ExitStack) -> None:
    """Start everything, then wait."""
    folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="goverse-cluster-")))
    folder.chmod(0o755)
    processes = Processes(folder, undo)
    dsn, version = undo.enter_context(postgres(Path(tempfile.gettempdir())))
    say("postgresql", dsn, version)
    etcd = processes.start_etcd()
    processes.environment |= {"GOVERSE_ETCD__ENDPOINTS": etcd, "GOVERSE_POSTGRES__DSN": dsn}
    command = [sys.executable, "-m", "goverse_cli"]
    subprocess.run([*command, "db", "migrate"], env=processes.environment, check=True, stdout=subprocess.DEVNULL)
    for number in range(1, options.nodes + 1):
        address = f"127.0.0.1:{free_port()}"
        name = f"node-{number}"
        processes.start(name, address, [*command, "node", options.app, "--id", name, "--listen", address])
    web = ["--web", str(options.web)] if options.web is not None else []
    for number in range(options.gates):
        port, name = str(options.port + number), f"gate-{number + 1}"
        gate = [*command, "gate", "--port", port, *web]
        processes.start(name, f"http://127.0.0.1:{port}", gate, GOVERSE_NODE__ID=name)
    wait_until_ready(f"http://127.0.0.1:{options.port}")
    print(f"ready: http://127.0.0.1:{options.port}/docs, logs in {folder}; for other commands:")
    print(f"  export GOVERSE_ETCD__ENDPOINTS={etcd} GOVERSE_POSTGRES__DSN={dsn}")
    print(f"  export PATH={Path(sys.executable).parent}:$PATH", flush=True)
    while True:
        time.sleep(LOOK_S)
        processes.tell_ends()


def is_taken(port: int) -> bool:
    """Tell whether a gate could not listen on a port of this machine."""
    try:
        open_listener("127.0.0.1", port).close()
    except ConfigError:
        return True
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, by force if need be."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


def wait_until_ready(url: str) -> None:
    """Wait until every shard is served."""
    end_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_at:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
                if not json.load(answer)["reasons"]:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} was not ready within {PATIENCE_S:g} s; the logs tell why")


def say(name: str, address: str, more: str) -> None:
    """Print one line about a process."""
    print(f"{name:<12}{address:<48}{more}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
