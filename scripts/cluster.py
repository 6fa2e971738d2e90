"""Run a cluster on this machine until Ctrl-C: etcd, PostgreSQL, nodes and gates as separate processes on loopback.

    python scripts/cluster.py APP [--nodes 3] [--gates 2] [--port 8000] [--web FOLDER]

The script prints a line with the address and the process id of each process. Kill one to see the others take over; the
script then prints the command that starts it again. All data is temporary and deleted at the end.
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
from goverse_cli.listener import open_listener  # noqa: E402  # as above

PATIENCE_S = 60.0
LOOK_S = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    """Run the cluster until interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("app")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--gates", type=int, default=2)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--web", type=Path, help="folder of static files that the gates serve at /")
    options = parser.parse_args()
    for number in _SIGNALS:  # explicitly, because a shell may have set SIGINT to be ignored
        signal.signal(number, _interrupt)
    for port in range(options.port, options.port + options.gates):
        if is_taken(port):
            raise SystemExit(f"port {port} is in use, perhaps by `make dev` or `make cluster`; set PORT=8100")
    with ExitStack() as undo:
        try:
            serve(options, undo)
        except KeyboardInterrupt:
            print("stopping")
    return 0


def _interrupt(number: int, frame: object) -> None:
    """Stop in order. Further signals are ignored, so that they cannot interrupt the shutdown halfway."""
    del number, frame
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


class Processes:
    """The running processes; ``undo`` ends them in reverse order."""

    def __init__(self, folder: Path, undo: ExitStack) -> None:
        """Write the logs of the processes to ``folder``."""
        self._folder = folder
        self._undo = undo
        self._running: dict[str, tuple[subprocess.Popen[bytes], str]] = {}
        self.environment = {"LOG_FORMAT": "text", **os.environ}

    def start(self, name: str, address: str, command: Sequence[str], **variables: str) -> None:
        """Start a process, print its line, and register it with ``undo``."""
        log = self._undo.enter_context((self._folder / f"{name}.log").open("wb"))
        environment = {**self.environment, **variables}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self._undo.callback(end, process)
        again = shlex.join(["goverse", *command[3:]]) if "goverse_cli" in command else shlex.join(command)
        self._running[name] = process, " ".join([*(f"{key}={value}" for key, value in variables.items()), again])
        say(name, address, f"pid {process.pid}")

    def tell_ends(self) -> None:
        """Report processes that have ended since the last call."""
        for name, (process, again) in list(self._running.items()):
            if process.poll() is not None:
                del self._running[name]
                say(name, f"exited with code {process.returncode}", f"start it again with: {again}")

    def start_etcd(self) -> str:
        """Start an etcd with one member and return its URL."""
        url, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        arguments = [f"--data-dir={self._folder / 'etcd'}", f"--listen-client-urls={url}"]
        arguments += [f"--advertise-client-urls={url}", f"--listen-peer-urls={peer}"]
        arguments += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
        self.start("etcd", url, ["etcd", *arguments])
        return url


def serve(options: argparse.Namespace, undo: ExitStack) -> None:
    """Start all processes, then report those that end."""
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
    print(f"ready: http://127.0.0.1:{options.port}/docs, logs in {folder}; to use goverse in another terminal:")
    print(f"  export GOVERSE_ETCD__ENDPOINTS={etcd} GOVERSE_POSTGRES__DSN={dsn}")
    print(f"  export PATH={Path(sys.executable).parent}:$PATH", flush=True)
    while True:
        time.sleep(LOOK_S)
        processes.tell_ends()


def is_taken(port: int) -> bool:
    """Return True if a port of this machine is in use."""
    try:
        open_listener("127.0.0.1", port).close()
    except ConfigError:
        return True
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process; kill it after 30 s."""
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


def wait_until_ready(url: str) -> None:
    """Wait until the gate is ready and every shard is served."""
    end_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_at:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
                if not json.load(answer)["reasons"]:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} was not ready within {PATIENCE_S:g} s; see the logs")


def say(name: str, address: str, more: str) -> None:
    """Print one line of the table of processes."""
    print(f"{name:<12}{address:<48}{more}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
