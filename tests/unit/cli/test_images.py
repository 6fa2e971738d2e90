"""Tests of what the images rely on: a gate without node code, requirements per role, and a correct health check."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from goverse.settings import load_settings
from goverse.tls.rotation import Rotating
from goverse_cli.failure import ExitCode
from goverse_cli.health import Address, address_of, lives, served
from goverse_gate.tls import server_context
from tests.certificates import Authority
from tests.gate.serving import serving
from tests.tree import ROOT

pytestmark = pytest.mark.requirement("OPS-1")

WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import goverse_cli.cluster.{part}, goverse_cli.event_loop, goverse_cli.health
from goverse_cli.main import run
sys.exit(run([{part!r}, "--help"]))
"""
ABSENT = {"gate": {"goverse_node"}, "node": set[str]()}


def image_requirements(role: str) -> set[str]:
    """Return the package names that the image of a role installs, by the same command as its Dockerfile."""
    told = subprocess.run(
        [sys.executable, ROOT / "scripts" / "image_requirements.py", role],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {re.split(r"[>=<]", line)[0] for line in told.stdout.split()}


def variables(port: int, **settings: str) -> dict[str, str]:
    return {"GOVERSE_GATE__PORT": str(port), "GOVERSE_CLUSTER__ADMIN_LISTEN": f"0.0.0.0:{port}", **settings}


def address(kind: str, port: int, **settings: str) -> Address:
    return address_of(kind, variables(port, **settings))


@pytest.mark.parametrize("part", ABSENT)
def test_a_part_starts_without_what_its_image_leaves_out(part: str) -> None:
    modules = {name.replace("-", "_") for name in image_requirements("tools") - image_requirements(part)}
    code = WITHOUT.format(absent=ABSENT[part] | modules, part=part)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert ran.returncode == 0, ran.stderr
    assert f"goverse {part}" in ran.stdout


def test_the_images_of_gate_and_node_are_smaller_than_that_of_the_tools() -> None:
    everything = image_requirements("tools")

    assert everything - image_requirements("gate") == {"asyncpg", "watchfiles"}
    assert everything - image_requirements("node") == {"fastapi-offline", "watchfiles"}


@pytest.mark.parametrize("kind", ["gate", "node"])
async def test_a_health_check_connects_to_the_running_process(kind: str) -> None:
    async with serving() as running:
        port = running.client.base_url.port
        assert port is not None
        assert address(kind, port) == Address("127.0.0.1", port)
        assert await asyncio.to_thread(lives, address(kind, port))

    assert not await asyncio.to_thread(lives, address(kind, port))


@pytest.mark.parametrize("kind", ["gate", "node"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"GOVERSE_GATE__HOST": "::1", "GOVERSE_CLUSTER__ADMIN_LISTEN": "[::]:7481"},
        {"GOVERSE_GATE__PORT": "", "GOVERSE_GATE__HOST": ""},
        {"GOVERSE_gate__port": "8001", "GOVERSE_cluster__admin_listen": "10.0.0.1:7481"},
        {"GOVERSE_GATE__TLS_CERT": "a.pem", "GOVERSE_GATE__TLS_KEY": "b.pem", "GOVERSE_GATE__TLS_CLIENT_CA": "c.pem"},
        {"GOVERSE_CONFIG": "file", "GOVERSE_GATE__PORT": "8003"},
        {"GOVERSE_CONFIG": "empty"},
    ],
    ids=["none", "all addresses", "empty", "lower case", "tls", "file", "empty file"],
)
def test_a_health_check_reads_the_settings_as_the_process_does(
    kind: str, given: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text(
        "gate: {host: 0.0.0.0, port: 8002, allow_unauthenticated_remote: true}\n"
        "cluster: {admin_listen: '0.0.0.0:7482'}\n"
    )
    (tmp_path / "empty").write_text("gate:\n")
    environ = {name: str(tmp_path / value) if name == "GOVERSE_CONFIG" else value for name, value in given.items()}
    values = load_settings(environ=environ).values

    read = address_of(kind, environ)

    host, _, port = (values.cluster.admin_listen or "127.0.0.1:7480").rpartition(":")
    listen = (values.gate.host, values.gate.port) if kind == "gate" else (host.strip("[]"), int(port))
    assert (read.host, read.port) == ({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen[0], listen[0]), listen[1])
    assert read.is_tls == (kind == "gate" and values.gate.tls_cert is not None)
    assert read.wants_certificate == (kind == "gate" and values.gate.tls_client_ca is not None)


@pytest.mark.parametrize("kind", ["gate", "node"])
def test_a_health_check_imports_nothing_of_the_product(kind: str) -> None:
    code = (
        f"import sys; from goverse_cli.health import address_of, lives; lives(address_of({kind!r}, {variables(1)!r})); "
        "print([name for name in sys.modules if name.partition('.')[0] in ('goverse', 'pydantic', 'yaml')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout == "[]\n"


@pytest.mark.requirement("OPS-9")
@pytest.mark.parametrize("kind", ["gate", "node"])
async def test_an_operator_reads_what_a_process_serves(kind: str) -> None:
    async with serving() as running:
        port = running.client.base_url.port
        assert port is not None
        metrics = await asyncio.to_thread(served, address(kind, port), "/metrics")
        ready = await asyncio.to_thread(served, address(kind, port), "/readyz")
        assert metrics is not None
        assert "goverse_method_calls_total" in metrics
        assert ready is not None
        assert json.loads(ready)["reasons"] == []

    assert await asyncio.to_thread(served, address(kind, port), "/metrics") is None


@pytest.mark.requirement("OPS-9")
@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("gate", ["nodes", "list"]),
        ("gate", ["shards", "list"]),
        ("gate", ["call", "Counter", "c1", "increment", "--url", "http://127.0.0.1:1"]),
        ("node", ["db", "status", "--dsn", "postgresql://goverse@127.0.0.1:1/goverse"]),
    ],
    ids=["nodes", "shards", "call", "db"],
)
def test_what_an_operator_runs_in_a_pod_needs_nothing_that_its_image_leaves_out(part: str, words: list[str]) -> None:
    modules = {name.replace("-", "_") for name in image_requirements("tools") - image_requirements(part)}
    code = WITHOUT.format(absent=ABSENT[part] | modules, part=part).replace(f'[{part!r}, "--help"]', repr(words))
    settings = {**os.environ, "GOVERSE_ETCD__ENDPOINTS": "http://127.0.0.1:1"}
    ran = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=False)

    assert ran.returncode == ExitCode.UNAVAILABLE, ran.stderr
    assert "unforeseen" not in ran.stderr


@pytest.mark.requirement("SEC-3")
@pytest.mark.parametrize("clients", [False, True], ids=["any client", "clients with a certificate"])
async def test_a_health_check_speaks_tls_where_the_gate_does(clients: bool, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    cert, key = authority.issue("gate", "a-name-that-loopback-has-not")
    settings = {"GOVERSE_GATE__TLS_CERT": str(cert), "GOVERSE_GATE__TLS_KEY": str(key)}
    if clients:
        settings["GOVERSE_GATE__TLS_CLIENT_CA"] = str(authority.certificate)
    files = load_settings(environ=variables(1, **settings)).values.gate.tls_files()
    assert files is not None
    async with serving(certificates=Rotating(files, server_context)) as running:
        port = running.client.base_url.port
        assert port is not None
        assert await asyncio.to_thread(lives, address("gate", port, **settings))

    assert not await asyncio.to_thread(lives, address("gate", port, **settings))
