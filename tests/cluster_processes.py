"""A cluster of real processes on loopback: etcd, PostgreSQL, nodes and a gate, killed, paused and restarted at will."""

from __future__ import annotations

import asyncio
import os
import signal as signals
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from benchmarks.postgres import postgres
from tests.etcd_server import EtcdCluster, etcd_cluster, free_ports

ROOT = Path(__file__).parents[1]
PATIENCE_S = 40.0
LEASE_TTL_S = 3


class Processes:
    """The processes by name.

    Attributes:
        url: of the gate.
        etcd: its members.
    """

    def __init__(self, folder: Path, etcd: EtcdCluster, dsn: str, *, shards: int) -> None:
        self.etcd = etcd
        self._folder = folder
        (self._gate_port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self._gate_port}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        roots = os.pathsep.join(str(ROOT / root) for root in ("shared", "node", "gate", "cli", "."))
        self._env = {
            **os.environ,
            "PYTHONPATH": roots,
            "GOVERSE_ETCD__ENDPOINTS": ",".join(etcd.urls),
            "GOVERSE_POSTGRES__DSN": dsn,
            "GOVERSE_CLUSTER__SHARDS": str(shards),
            "GOVERSE_CLUSTER__LEASE_TTL_S": str(LEASE_TTL_S),
        }

    def command(self, *arguments: str) -> str:
        """Run a command to its end, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "goverse_cli", *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_node(self, name: str) -> None:
        (port,) = free_ports(1)
        target = str(ROOT / "benchmarks" / "counters.py")
        self._start(name, "node", target, "--id", name, "--listen", f"127.0.0.1:{port}")

    def start_gate(self) -> None:
        self._start("gate", "gate", "--port", str(self._gate_port))

    def _start(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "goverse_cli", *arguments]
            self._running[name] = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def signal(self, name: str, number: signals.Signals) -> None:
        self._running[name].send_signal(number)

    async def end(self, name: str, number: signals.Signals) -> int:
        """Send a signal, and wait for the process's end; return its exit code."""
        process = self._running.pop(name)
        process.send_signal(number)
        return await asyncio.to_thread(process.wait, PATIENCE_S)

    async def ready(self) -> None:
        """Wait until the gate says that every shard is served."""
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            last = ""
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        try:
                            answer = await client.get(f"{self.url}/readyz")
                        except httpx.TransportError as error:
                            last = repr(error)
                        else:
                            if answer.status_code == 200:
                                return
                            last = answer.text
                        await asyncio.sleep(0.05)
            except TimeoutError:
                logs = "\n".join(f"--- {name}\n{self.log(name)[-1500:]}" for name in self._running)
                raise AssertionError(f"the cluster is not ready: {last}\n{logs}") from None

    def kill_all(self) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait(PATIENCE_S)


@asynccontextmanager
async def cluster(folder: Path, *, nodes: int = 3, shards: int = 256) -> AsyncIterator[Processes]:
    """Run a cluster whose files are under ``folder``."""
    folder.chmod(0o755)  # noqa: ASYNC240  # before anything runs
    with postgres(Path("/var/tmp")) as (dsn, _):
        async with etcd_cluster(folder) as etcd:
            processes = Processes(folder, etcd, dsn, shards=shards)
            try:
                processes.command("db", "migrate")
                for number in range(1, nodes + 1):
                    processes.start_node(f"n{number}")
                processes.start_gate()
                await processes.ready()
                yield processes
            finally:
                processes.kill_all()


class Load:
    """Callers that count: each increments an object of its own, one call after the other.

    Every answer has to be a success, and to be the number of calls that the caller made: one more would be an effect
    twice, one less a lost one.

    Attributes:
        made: answered calls.
        wrong: what went wrong.
        longest_s: the longest time that a call took.
        keyed_only: every call has an idempotency key, so that it survives the gate.
    """

    def __init__(self, url: str, callers: int = 16) -> None:
        self.made = 0
        self.wrong: list[str] = []
        self.longest_s = 0.0
        self.keyed_only = False
        self._url = url
        self._callers = callers
        self._stop = asyncio.Event()

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=self._callers)
        async with httpx.AsyncClient(base_url=self._url, timeout=40, limits=limits, trust_env=False) as client:
            await asyncio.gather(*(self._call(client, number) for number in range(self._callers)))

    def stop(self) -> None:
        self._stop.set()

    async def _call(self, client: httpx.AsyncClient, number: int) -> None:
        count, attempt_of = 0, None
        now = asyncio.get_running_loop().time
        while not self._stop.is_set():
            keyed = self.keyed_only or number % 2 == 0
            headers = {"Idempotency-Key": f"{number}-{count}"} if keyed else {}
            began = now()
            try:
                answer = await client.post(f"/objects/Counter/load-{number}/call/increment", headers=headers)
            except httpx.TransportError as error:
                if keyed:  # the gate died: the same key again
                    attempt_of = count
                    await asyncio.sleep(0.05)
                    continue
                self.wrong.append(f"caller {number}: {error!r}")
                return
            self.longest_s = max(self.longest_s, now() - began)
            count += 1
            if answer.status_code != 200 or answer.text != str(count):
                self.wrong.append(
                    f"caller {number} (retried: {attempt_of}): {answer.status_code} {answer.text}, not {count}"
                )
                return
            self.made += 1
