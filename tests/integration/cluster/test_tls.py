"""A cluster of real processes with TLS on all links: it refuses unknown peers and takes renewed certificates."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from benchmarks.ports import free_port
from tests.certificates import Authority
from tests.cluster_processes import COUNTERS, Processes, Shape, cluster
from tests.load import Load

pytestmark = [pytest.mark.requirement("SEC-3")]


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    async with cluster(tmp_path, Shape(nodes=2, shards=16, lease_ttl_s=10.0, tls=True)) as running:
        yield running


@asynccontextmanager
async def load_on(processes: Processes) -> AsyncIterator[Load]:
    """Calls continuously, over one connection and over a new connection for each call."""
    load, enough = Load(), asyncio.Event()

    async def call(client: httpx.AsyncClient, number: int) -> None:
        try:
            answer = await client.post(f"{processes.url}/objects/Counter/c{number % 50}/call/increment")
        except httpx.TransportError as error:
            load.failed.append(repr(error))
            return
        load.done += 1
        if answer.status_code != 200:
            load.failed.append(answer.text)

    async def steady() -> None:
        async with processes.client(30.0) as client:
            while not enough.is_set():
                await call(client, load.done)

    async def anew() -> None:
        while not enough.is_set():
            async with processes.client(30.0) as client:
                await call(client, load.done)

    tasks = [asyncio.create_task(each()) for each in (steady, steady, anew)]
    try:
        yield load
    finally:
        enough.set()
        await asyncio.gather(*tasks)


async def reloads(processes: Processes, where: str) -> dict[tuple[str, str], float]:
    """Return the number of certificate changes by link and outcome."""
    async with processes.client() as client:
        text = (await client.get(f"{where}/metrics")).text
    found: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        if line.startswith("goverse_tls_reloads_total{"):
            labels, value = line.removeprefix("goverse_tls_reloads_total{").split("} ")
            pairs = dict(part.split("=") for part in labels.split(","))
            found[pairs["link"].strip('"'), pairs["outcome"].strip('"')] = float(value)
    return found


async def taken(processes: Processes, where: str, *, count: int, outcome: str = "taken") -> None:
    """Wait until every link of a process has taken ``count`` new certificates."""
    async with asyncio.timeout(30):
        while True:
            seen = await reloads(processes, where)
            if seen and all(seen.get((link, outcome), 0) >= count for link, _ in seen):
                return
            await asyncio.sleep(0.2)


def node_addresses(processes: Processes) -> list[str]:
    told = json.loads(processes.command("-o", "json", "nodes", "list"))
    return [node["admin"] for node in told.values()]


async def all_node_addresses(processes: Processes) -> list[str]:
    """Return the nodes' addresses after all have joined. The cluster already serves with fewer."""
    async with asyncio.timeout(30):
        while len(found := await asyncio.to_thread(node_addresses, processes)) < len(processes.nodes):  # noqa: ASYNC110  # polls a command
            await asyncio.sleep(0.2)
    return found


async def test_everything_is_encrypted_and_certificates_change_under_load(processes: Processes) -> None:
    certificates = processes.certificates
    assert certificates is not None
    places = [processes.url, *await all_node_addresses(processes)]
    for place in places:
        assert await reloads(processes, place), "every process tells of its links"
    old, new = certificates.first, certificates.second
    async with load_on(processes) as load:
        for count, (signer, believed) in enumerate([(old, (old, new)), (new, (old, new)), (new, (new,))], 1):
            certificates.renew(signer, *believed)
            certificates.renew_stores()
            for place in places:
                await taken(processes, place, count=count)
            await load.goes_on()
        await processes.end("n2", signal.SIGTERM)
        processes.start_node("n3")
        await processes.ready()
        await load.goes_on()
    assert load.failed == []
    assert processes.ended() == {}


async def test_a_broken_renewal_is_reported_and_nothing_stops(processes: Processes) -> None:
    certificates = processes.certificates
    assert certificates is not None
    await all_node_addresses(processes)
    for volume in (certificates.node, certificates.gate, certificates.https, certificates.stores):
        volume.key.write_bytes(b"broken")
    places = [processes.url, *await asyncio.to_thread(_with_good_files, processes)]
    for place in places:
        await taken(processes, place, count=1, outcome="refused")

    async with processes.client(30.0) as client:
        assert (await client.post(f"{processes.url}/objects/Counter/c1/call/increment")).status_code == 200
    for name in ("gate-1", "n1"):
        assert "new TLS certificates rejected; still using the previous ones" in processes.log(name)
        assert "is not a valid PEM private key" in processes.log(name)


def _with_good_files(processes: Processes) -> list[str]:
    """Return the nodes' addresses, from a command with other files than the broken ones."""
    certificates = processes.certificates
    assert certificates is not None
    cert, key = certificates.first.issue("operator", "an-operator")
    done = processes.attempt(
        "-o", "json", "nodes", "list", GOVERSE_ETCD__TLS_CERT=str(cert), GOVERSE_ETCD__TLS_KEY=str(key)
    )
    return [node["admin"] for node in json.loads(done.stdout).values()]


@pytest.mark.parametrize("kind", ["node", "gate"])
async def test_who_does_not_encrypt_as_the_others_do_is_not_let_in(processes: Processes, kind: str) -> None:
    node = ("node", str(COUNTERS), "--id", "plain", "--listen", f"127.0.0.1:{free_port()}")
    command = node if kind == "node" else ("gate",)
    await all_node_addresses(processes)
    plain = dict.fromkeys(("GOVERSE_WIRE__TLS_CA", "GOVERSE_WIRE__TLS_CERT", "GOVERSE_WIRE__TLS_KEY"), "")

    done = await asyncio.to_thread(processes.attempt, *command, **plain, GOVERSE_GATE__PORT="0")

    assert done.returncode == 2
    assert re.search(r"streams of node 'n\d' are encrypted and those of this process are plain", done.stderr)
    assert "wire.tls_" in done.stderr


async def test_commands_say_why_they_are_not_trusted(processes: Processes, tmp_path: Path) -> None:
    certificates = processes.certificates
    assert certificates is not None
    stranger = Authority(tmp_path / "stranger")
    ca, (cert, key) = str(certificates.first.certificate), map(str, certificates.caller)
    call = ["call", "Counter", "c1", "increment", "--url", processes.url]

    done = await asyncio.to_thread(processes.attempt, *call, "--ca", ca, "--cert", cert, "--cert-key", key)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    done = await asyncio.to_thread(
        processes.attempt, *call, GOVERSE_CA=str(stranger.certificate), GOVERSE_CERT=cert, GOVERSE_CERT_KEY=key
    )
    assert done.returncode == 3
    assert "TLS handshake with" in done.stderr
    assert "--ca" in done.stderr
    done = await asyncio.to_thread(processes.attempt, *call, "--ca", ca)
    assert done.returncode == 3
    assert "--cert and --cert-key" in done.stderr  # after a TLS alert, or after the connection ended without one

    done = await asyncio.to_thread(processes.attempt, "nodes", "list", GOVERSE_ETCD__TLS_CA=str(stranger.certificate))
    assert done.returncode == 3
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr
    foreign = dict(
        zip(("GOVERSE_ETCD__TLS_CERT", "GOVERSE_ETCD__TLS_KEY"), map(str, stranger.issue("x", "x")), strict=True)
    )
    done = await asyncio.to_thread(processes.attempt, "nodes", "list", **foreign)
    assert done.returncode == 3
    assert "the server rejects our certificate" in done.stderr


async def test_a_process_with_unusable_certificates_does_not_start(processes: Processes, tmp_path: Path) -> None:
    certificates = processes.certificates
    assert certificates is not None
    application = str(processes.shape.application)
    cert, key = map(str, certificates.first.issue("unnamed", "somebody"))
    wire = {**certificates.of(gate=False), "GOVERSE_WIRE__TLS_CERT": cert, "GOVERSE_WIRE__TLS_KEY": key}
    gate = certificates.of(gate=True)
    cases = {
        "wire.tls_name": (["node", application], wire),
        "requires wire.tls_key as well": (["node", application], {**wire, "GOVERSE_WIRE__TLS_KEY": ""}),
        "gate.tls_key: ": (["gate", "--port", "0"], {**gate, "GOVERSE_GATE__TLS_KEY": str(tmp_path / "none")}),
        "(wire.tls_gate_name)": (
            ["gate", "--port", "0"],
            {**gate, "GOVERSE_WIRE__TLS_CERT": cert, "GOVERSE_WIRE__TLS_KEY": key},
        ),
        "requires gate.tls_cert": (
            ["gate", "--port", "0"],
            {"GOVERSE_GATE__TLS_CLIENT_CA": gate["GOVERSE_GATE__TLS_CLIENT_CA"]},
        ),
        "goverse dev serves plain HTTP only": (["dev", application], gate),
    }
    for said, (arguments, variables) in cases.items():
        done = await asyncio.to_thread(processes.attempt, *arguments, **variables)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr


async def test_what_is_registered_and_logged_names_https(processes: Processes) -> None:
    assert urlsplit(processes.url).scheme == "https"
    assert f'"url":"{processes.url}"' in processes.log("gate-1").replace('": "', '":"')
