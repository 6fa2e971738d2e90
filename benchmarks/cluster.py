"""A cluster for benchmarks: one gate, some nodes, etcd and a separate database, as real processes on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM, Signals

from benchmarks.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 20.0
_COMMAND = (sys.executable, "-m", "goverse_cli")


class Cluster:
    """A running cluster.

    Attributes:
        url: base URL of the gate.
        etcd: URL of etcd.
    """

    def __init__(self, folder: Path, dsn: str, undo: ExitStack) -> None:
        """Start etcd and prepare the database; files are under ``folder``."""
        self._folder = folder
        self._undo = undo
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._admin: dict[str, str] = {}
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._gate_port = port
        self.etcd, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._env = {**os.environ, "GOVERSE_ETCD__ENDPOINTS": self.etcd, "GOVERSE_POSTGRES__DSN": dsn}
        arguments = [f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={self.etcd}"]
        arguments += [f"--advertise-client-urls={self.etcd}", f"--listen-peer-urls={peer}"]
        arguments += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"]
        self._start("etcd", ["etcd", *arguments])
        subprocess.run([*_COMMAND, "db", "migrate"], env=self._env, check=True, stdout=subprocess.DEVNULL)

    def start_gate(self) -> None:
        """Start the gate."""
        self._start("gate", [*_COMMAND, "gate", "--port", str(self._gate_port)], GOVERSE_NODE__ID="gate")

    def start_node(self, name: str) -> None:
        """Start a node."""
        address, self._admin[name] = (f"127.0.0.1:{free_port()}" for _ in range(2))
        target = str(ROOT / "benchmarks" / "counters.py")
        command = [*_COMMAND, "node", target, "--id", name, "--listen", address]
        self._start(name, command, GOVERSE_CLUSTER__ADMIN_LISTEN=self._admin[name])

    def admin_url(self, name: str) -> str:
        """Return the base URL of a node for operators."""
        return f"http://{self._admin[name]}"

    def _start(self, name: str, command: Sequence[str], **variables: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env={**self._env, **variables}, stdout=log, stderr=log)
        self._processes[name] = process
        self._undo.callback(self.end, name)

    def pid(self, name: str) -> int:
        """Return the id of a running process."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """Kill a process."""
        self._processes[name].send_signal(SIGKILL)

    def end(self, name: str) -> None:
        """Stop a process; kill it after ``END_TIMEOUT_S``."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.send_signal(_how(name))
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ready(self) -> None:
        """Wait until every shard is served.

        Raises:
            SystemExit: the cluster is not ready within ``READY_TIMEOUT_S``.
        """
        end_at = time.monotonic() + READY_TIMEOUT_S
        while not _is_ready(f"{self.url}/readyz"):
            if time.monotonic() > end_at:
                logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in self._folder.glob("*.log"))
                raise SystemExit(f"the cluster is not ready within {READY_TIMEOUT_S:g} s:\n{logs}")
            time.sleep(0.05)


def _how(name: str) -> Signals:
    return SIGTERM if name in ("etcd", "gate") else SIGQUIT


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return not json.load(answer)["reasons"]
    except OSError:
        return False


def database(dsn: str, name: str) -> str:
    """Create an empty database on the server of ``dsn`` and return its data source name."""
    subprocess.run(["psql", "-q", dsn, "-c", f"CREATE DATABASE {name}"], check=True)
    return f"{dsn.rpartition('/')[0]}/{name}"


@contextmanager
def cluster(folder: Path, dsn: str, *, nodes: int = 1) -> Iterator[Cluster]:
    """Run a gate and some nodes, named ``n1`` and so on, over the empty database of ``dsn``."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        running = Cluster(folder, dsn, undo)
        for number in range(1, nodes + 1):
            running.start_node(f"n{number}")
        running.start_gate()
        running.ready()
        yield running
