"""A private etcd of one or more members: started in about a second, killed, paused, restarted and wiped at will.

>>> async with etcd_cluster(tmp_path, members=3) as cluster:
...     leader = await cluster.leader()
...     leader.kill()
...     await cluster.healthy()
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.ports import free_ports
from tests.certificates import Authority

PATIENCE_S = 30.0
STARTS_MAX = 3
QUICK = ("--heartbeat-interval=50", "--election-timeout=500")


@dataclass
class EtcdMember:
    """One process of etcd.

    Attributes:
        url: the address for clients.
    """

    name: str
    folder: Path
    url: str
    arguments: Sequence[str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port for clients."""
        return int(self.url.rpartition(":")[2])

    def start(self) -> None:
        """Start the process without waiting until it answers. The kernel kills it when the test process ends."""
        assert self.process is None, f"{self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            command = [
                "setpriv",
                "--pdeathsig=KILL",
                "etcd",
                f"--name={self.name}",
                f"--data-dir={self.folder / 'data'}",
                *self.arguments,
            ]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """Send SIGKILL and wait until the process ends."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Send SIGTERM and wait until the process ends."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freeze the process. The kernel keeps its connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a frozen process."""
        self._signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Delete the member's data. The process must not run."""
        assert self.process is None, f"{self.name} still runs"
        shutil.rmtree(self.folder / "data")

    def save(self) -> None:
        """Make a backup of the member's data. The process must not run."""
        assert self.process is None, f"{self.name} still runs"
        shutil.rmtree(self.folder / "backup", ignore_errors=True)
        shutil.copytree(self.folder / "data", self.folder / "backup")

    def restore(self) -> None:
        """Replace the member's data by the backup. The process must not run."""
        self.wipe()
        shutil.copytree(self.folder / "backup", self.folder / "data")

    def log(self) -> str:
        """Return the last 2000 characters of its log."""
        path = self.folder / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"{self.name} does not run"
        self.process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(PATIENCE_S)
            self.process = None


@dataclass
class EtcdCluster:
    """The members of one etcd cluster."""

    members: list[EtcdMember]
    context: ssl.SSLContext | None = None
    tls: dict[str, Path] = field(default_factory=dict[str, Path])

    @property
    def urls(self) -> list[str]:
        """The address of each member for clients."""
        return [member.url for member in self.members]

    async def ask(self, path: str, body: dict[str, Any], member: EtcdMember | None = None, token: str = "") -> Any:
        """Send a request to etcd's JSON gateway, for operations that tests need and the client lacks."""
        member = member or next(member for member in self.members if member.process is not None)
        headers = {"Authorization": token} if token else {}
        async with httpx.AsyncClient(verify=self.context or False, trust_env=False, timeout=PATIENCE_S) as client:
            answer = await client.post(f"{member.url}/v3/{path}", json=body, headers=headers)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        return answer.json()

    async def compact(self) -> None:
        """Compact the history up to the newest revision."""
        header = (await self.ask("kv/range", {"key": "AA==", "limit": 1}))["header"]
        await self.ask("kv/compaction", {"revision": header["revision"], "physical": True})

    async def leader(self) -> EtcdMember:
        """Return the member that is the Raft leader."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for member in self.members:
                    with suppress(httpx.TransportError, AssertionError):
                        status = await self.ask("maintenance/status", {}, member)
                        if status.get("leader") == status["header"]["member_id"]:
                            return member
                await asyncio.sleep(0.02)

    async def healthy(self, member: EtcdMember | None = None) -> None:
        """Wait until a member, or each running one, answers a read that needs a quorum."""
        for one in [member] if member else [one for one in self.members if one.process is not None]:
            async with asyncio.timeout(PATIENCE_S):
                while not await self._is_healthy(one):
                    assert one.process is None or one.process.poll() is None, f"{one.name} ended: {one.log()}"
                    await asyncio.sleep(0.02)

    async def _is_healthy(self, member: EtcdMember) -> bool:
        try:
            async with httpx.AsyncClient(verify=self.context or False, trust_env=False, timeout=2.0) as client:
                answer = await client.get(f"{member.url}/health")
        except httpx.TransportError:
            return False
        return answer.status_code == 200

    def end(self) -> None:
        """Kill all running members."""
        for member in self.members:
            member.kill()


def _cluster(folder: Path, count: int, options: Sequence[str], authority: Authority | None) -> EtcdCluster:
    ports = free_ports(2 * count)
    scheme, tls = ("http", dict[str, Path]()) if authority is None else ("https", _certificates(authority))
    peers = {f"e{number}": f"http://127.0.0.1:{ports[2 * number]}" for number in range(count)}
    members: list[EtcdMember] = []
    for number, (name, peer) in enumerate(peers.items()):
        url = f"{scheme}://127.0.0.1:{ports[2 * number + 1]}"
        addresses = [f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
        addresses += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        known = f"--initial-cluster={','.join(f'{one}={address}' for one, address in peers.items())}"
        certificates = [f"--{option}={path}" for option, path in tls.items() if not option.startswith("client-")]
        if authority is not None:
            certificates += [f"--trusted-ca-file={authority.certificate}", "--client-cert-auth"]
        arguments = [*addresses, known, *QUICK, "--logger=zap", "--log-level=warn", *certificates, *options]
        members.append(EtcdMember(name, folder / name, url, arguments))
    return EtcdCluster(members, None if authority is None else _context(authority, tls), tls)


def _certificates(authority: Authority) -> dict[str, Path]:
    certificate, key = authority.issue("server", "localhost", "127.0.0.1")
    client_certificate, client_key = authority.issue("client", "a-node.example")
    return {
        "cert-file": certificate,
        "key-file": key,
        "client-cert-file": client_certificate,
        "client-key-file": client_key,
    }


def _context(authority: Authority, tls: dict[str, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    context.load_cert_chain(tls["client-cert-file"], tls["client-key-file"])
    return context


@asynccontextmanager
async def etcd_cluster(
    folder: Path, *, members: int = 1, options: Sequence[str] = (), authority: Authority | None = None
) -> AsyncIterator[EtcdCluster]:
    """Run a healthy etcd cluster until the block ends, with TLS if there is an authority to sign its certificate."""
    for attempt in range(STARTS_MAX):
        cluster = _cluster(folder / str(attempt), members, options, authority)
        try:
            for member in cluster.members:
                member.start()
            await cluster.healthy()
        except (AssertionError, TimeoutError):  # another process took one of the ports
            cluster.end()
            if attempt == STARTS_MAX - 1:
                raise
            continue
        try:
            yield cluster
        finally:
            cluster.end()
        return
