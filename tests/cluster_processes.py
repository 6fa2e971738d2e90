"""A cluster of real processes on loopback: etcd, PostgreSQL, nodes and gates, killed, paused and restarted at will.

>>> async with cluster(tmp_path, Shape(nodes=3, gates=2, detoured=("n1",))) as processes:
...     await processes.end("n2", signal.SIGKILL)
...     processes.detours["n1"].etcd[0].hold()
"""

from __future__ import annotations

import asyncio
import os
import signal as signals
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from benchmarks.ports import free_ports
from benchmarks.postgres import Server, server
from tests import preloaded
from tests.cluster_certificates import ClusterCertificates
from tests.etcd_server import EtcdCluster, etcd_cluster
from tests.tcp_proxy import TcpProxy, proxy_to

ROOT = Path(__file__).parents[1]
COUNTERS = ROOT / "benchmarks" / "counters.py"
PATIENCE_S = 120.0
LEASE_TTL_S = 3.0


@dataclass(frozen=True)
class Shape:
    """The processes and settings that a cluster starts with.

    Attributes:
        nodes: number of nodes, named n1, n2, …
        gates: number of gates, named gate-1, gate-2, …
        shards: number of shards, a power of two.
        members: number of etcd members.
        lease_ttl_s: time after which a silent process loses its lease.
        application: the application that the nodes serve.
        detoured: the nodes whose connections go through proxies.
        tls: encrypt all connections.
        standby: give PostgreSQL a synchronous standby, which is in the nodes' DSN too.
    """

    nodes: int = 3
    gates: int = 1
    shards: int = 256
    members: int = 1
    lease_ttl_s: float = LEASE_TTL_S
    application: Path = COUNTERS
    detoured: tuple[str, ...] = ()
    tls: bool = False
    standby: bool = False


@dataclass(frozen=True)
class Detours:
    """The proxies around one node.

    Attributes:
        etcd: from the node to each member.
        postgres: from the node to PostgreSQL, and to its standby.
        calls: from gates and other nodes to the node.
        listen: the port on which the node itself takes calls.
    """

    etcd: list[TcpProxy]
    postgres: list[TcpProxy]
    calls: TcpProxy
    listen: int

    def variables(self, dsn: str) -> dict[str, str]:
        """Return settings that replace every address by that of a proxy."""
        for proxy in self.postgres:
            dsn = dsn.replace(f":{proxy.target_port}", f":{proxy.port}")
        return {
            "GOVERSE_ETCD__ENDPOINTS": ",".join(f"http://127.0.0.1:{proxy.port}" for proxy in self.etcd),
            "GOVERSE_POSTGRES__DSN": dsn,
            "GOVERSE_CLUSTER__ADVERTISE": f"127.0.0.1:{self.calls.port}",
        }


class Processes:
    """The processes of a cluster, by name.

    Attributes:
        shape: the shape that the cluster started with.
        gates: the address of each gate.
        etcd: the etcd cluster.
        postgres: the PostgreSQL server.
        standby: its synchronous standby, or None.
        detours: the proxies of each node that has them.
        certificates: the certificates, or None without TLS.
        folder: the folder of its files. Its name is in the environment of all processes, as ``CLUSTER_FOLDER``.
    """

    def __init__(
        self,
        folder: Path,
        shape: Shape,
        etcd: EtcdCluster,
        postgres: Server,
        *,
        certificates: ClusterCertificates | None = None,
        standby: Server | None = None,
    ) -> None:
        self.shape = shape
        self.standby = standby
        self.etcd = etcd
        self.postgres = postgres
        self.detours: dict[str, Detours] = {}
        ports = free_ports(shape.gates)
        self.certificates = certificates
        scheme = "https" if certificates else "http"
        self.gates = {f"gate-{number}": f"{scheme}://127.0.0.1:{port}" for number, port in enumerate(ports, 1)}
        self.folder = folder
        self._running: dict[str, preloaded.Started] = {}
        self._log_begins: dict[str, int] = {}
        roots = os.pathsep.join(str(ROOT / root) for root in ("shared", "node", "gate", "cli", "."))
        self._env = {
            **os.environ,
            "PYTHONPATH": roots,
            "CLUSTER_FOLDER": str(folder),
            "GOVERSE_ETCD__ENDPOINTS": ",".join(etcd.urls),
            "GOVERSE_POSTGRES__DSN": dsn_of(postgres, *([standby] if standby else [])),
            "GOVERSE_CLUSTER__SHARDS": str(shape.shards),
            "GOVERSE_CLUSTER__LEASE_TTL_S": str(shape.lease_ttl_s),
            **(certificates.variables(postgres.dsn) if certificates else {}),
        }

    @property
    def url(self) -> str:
        """The address of the first gate."""
        return self.gates["gate-1"]

    @property
    def nodes(self) -> list[str]:
        """The nodes whose process was started and not ended."""
        return sorted(name for name in self._running if name not in self.gates)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that belongs to the cluster."""
        return dict(self._env)

    def command(self, *arguments: str, **variables: str) -> str:
        """Run a command with further settings, check that it succeeds, and return its output."""
        done = self.attempt(*arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attempt(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command and return its result, also if it fails. A setting that is empty here is removed."""
        given = {**self._env, **variables}
        settings = {name: value for name, value in given.items() if value}
        return preloaded.run("goverse_cli", *arguments, cwd=None, env=settings, timeout=PATIENCE_S)

    async def detour(self, name: str, undo: AsyncExitStack) -> None:
        """Put proxies around node ``name``, for all its connections. Call this before it starts."""
        (listen,) = free_ports(1)
        members = [await undo.enter_async_context(proxy_to(member.port)) for member in self.etcd.members]
        servers = [self.postgres, *([self.standby] if self.standby else [])]
        postgres = [await undo.enter_async_context(proxy_to(_port_of(server.dsn))) for server in servers]
        calls = await undo.enter_async_context(proxy_to(listen))
        self.detours[name] = Detours(members, postgres, calls, listen)

    def start_node(self, name: str) -> None:
        detours = self.detours.get(name)
        listen = detours.listen if detours else free_ports(1)[0]
        variables = detours.variables(self._env["GOVERSE_POSTGRES__DSN"]) if detours else {}
        arguments = ["node", str(self.shape.application), "--id", name, "--listen", f"127.0.0.1:{listen}"]
        self._start(name, arguments, variables)

    def start_gate(self, name: str = "gate-1") -> None:
        port = _port_of(self.gates[name])
        self._start(name, ["gate", "--port", str(port)], {"GOVERSE_NODE__ID": name})

    def _start(self, name: str, arguments: list[str], variables: dict[str, str]) -> None:
        assert name not in self._running, f"{name} runs already"
        with (self.folder / f"{name}.log").open("ab") as log:
            links = self.certificates.of(gate=name in self.gates) if self.certificates else {}
            environment = {**self._env, **links, **variables}
            self._log_begins[name] = log.tell()
            self._running[name] = preloaded.start(
                "goverse_cli", *arguments, cwd=None, env=environment, stdio=(0, log, log)
            )

    def log(self, name: str) -> str:
        """Return the log of all processes that had this name."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def pid(self, name: str) -> int:
        """Return the id of the running process of this name."""
        return self._running[name].pid

    def signal(self, name: str, number: signals.Signals) -> None:
        self._running[name].send_signal(number)

    async def end(self, name: str, number: signals.Signals) -> int:
        """Send a signal and wait until the process ends; return its exit code."""
        self.signal(name, number)
        return await self.gone(name)

    async def gone(self, name: str) -> int:
        """Wait for a process that was ended in another way; return its exit code."""
        return await asyncio.to_thread(self._running.pop(name).wait, PATIENCE_S)

    def ended(self) -> dict[str, int]:
        """Return the processes that ended by themselves, with their exit codes."""
        codes = {name: process.poll() for name, process in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    async def fail_over(self) -> None:
        """Crash the primary PostgreSQL, promote its standby, and make the crashed server the standby of the new one."""
        assert self.standby is not None
        self.postgres, self.standby = self.standby, self.postgres
        await asyncio.to_thread(self.standby.stop, "immediate")
        await asyncio.to_thread(self.postgres.promote)
        await asyncio.to_thread(self.standby.follow, self.postgres)
        await synchronous(self.postgres)

    async def started(self) -> None:
        """Wait until every node has started. Before that, a signal ends it at once.

        A cluster can be ready without its slowest node.
        """
        async with asyncio.timeout(PATIENCE_S):
            for name in self.nodes:
                while not self._has_started(name):  # noqa: ASYNC110  # another process writes the log
                    await asyncio.sleep(0.05)

    def _has_started(self, name: str) -> bool:
        with (self.folder / f"{name}.log").open("rb") as log:
            log.seek(self._log_begins[name])
            return b"node started" in log.read()

    async def ready(self, gate: str | None = None) -> None:
        """Wait until one gate, or each running one, reports that every shard is served."""
        for name in [gate] if gate else [name for name in self.gates if name in self._running]:
            await self._ready(self.gates[name])

    async def _ready(self, url: str) -> None:
        async with self.client() as client:
            last = ""
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        try:
                            answer = await client.get(f"{url}/readyz")
                        except httpx.TransportError as error:
                            last = repr(error)
                        else:
                            if answer.status_code == 200 and "shards" not in answer.text:
                                return
                            last = answer.text
                        await asyncio.sleep(0.05)
            except TimeoutError:
                logs = "\n".join(f"--- {name}\n{self.log(name)[-1500:]}" for name in self._running)
                raise AssertionError(f"the cluster is not ready: {last}\n{logs}") from None

    def client(self, timeout_s: float = 5.0) -> httpx.AsyncClient:
        """Return an HTTP client for the gates."""
        verify = self.certificates.context() if self.certificates else True
        return httpx.AsyncClient(trust_env=False, timeout=timeout_s, verify=verify)

    def kill_all(self) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait(PATIENCE_S)


def _port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None, url
    return port


def dsn_of(*servers: Server) -> str:
    """Return a DSN with the hosts of all these servers; a client looks for the primary among them."""
    user, _, rest = servers[0].dsn.partition("@")
    hosts = [one.dsn.partition("@")[2].partition("/")[0] for one in servers]
    return f"{user}@{','.join(hosts)}/{rest.partition('/')[2]}"


@asynccontextmanager
async def following(primary: Server) -> AsyncIterator[Server]:
    """Run a synchronous standby of ``primary``: every commit waits for it."""
    with server(Path("/var/tmp"), standby_of=primary) as standby:
        await synchronous(primary)
        yield standby


async def synchronous(primary: Server) -> None:
    """Let every commit of ``primary`` wait for its standby from now on."""
    settings = ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
    await asyncio.to_thread(execute, primary, *settings)
    state = "SELECT sync_state FROM pg_stat_replication"
    async with asyncio.timeout(PATIENCE_S):
        while "sync" not in await asyncio.to_thread(execute, primary, state):  # noqa: ASYNC110  # another server's state
            await asyncio.sleep(0.05)


def execute(on: Server, *statements: str) -> str:
    """Run statements one by one, each in its own transaction, and return their output."""
    words = [word for statement in statements for word in ("-c", statement)]
    done = subprocess.run(["psql", "-qAt", on.dsn, *words], check=True, capture_output=True, text=True)
    return done.stdout


@asynccontextmanager
async def cluster(folder: Path, shape: Shape | None = None) -> AsyncIterator[Processes]:
    """Run a cluster whose files are under ``folder``."""
    shape = shape or Shape()
    folder.chmod(0o755)  # noqa: ASYNC240  # before anything runs
    certificates = ClusterCertificates(folder / "certificates") if shape.tls else None
    authority = certificates.first if certificates else None
    with server(Path("/var/tmp"), certificates.postgres if certificates else None) as postgres:
        async with (
            etcd_cluster(folder, members=shape.members, authority=authority) as etcd,
            AsyncExitStack() as undo,
        ):
            standby = await undo.enter_async_context(following(postgres)) if shape.standby else None
            processes = Processes(folder, shape, etcd, postgres, certificates=certificates, standby=standby)
            for name in shape.detoured:
                await processes.detour(name, undo)
            try:
                await asyncio.to_thread(processes.command, "db", "migrate")
                for number in range(1, shape.nodes + 1):
                    processes.start_node(f"n{number}")
                for name in processes.gates:
                    processes.start_gate(name)
                await processes.ready()
                await processes.started()
                yield processes
            finally:
                processes.kill_all()
