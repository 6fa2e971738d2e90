"""PostgreSQL over TLS as configured in the data source name: rejected peers, error texts, and renewed files."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.postgres import Server, server
from goverse.errors import ConfigError, GoverseError
from goverse_cli import main
from goverse_node.stores.postgres.connections import Connections
from goverse_node.stores.postgres.failures import translated
from goverse_node.stores.postgres.options import PostgresOptions
from goverse_node.stores.postgres.store import PostgresStore
from goverse_node.stores.postgres.tls import certificates_of
from tests.certificates import Authority, Volume
from tests.nodes import until

pytestmark = pytest.mark.requirement("SEC-3")


@dataclass
class Bench:
    """A server that asks for certificates of either authority, and the files of a node."""

    server: Server
    authority: Authority
    other: Authority
    volume: Volume

    def dsn(self, mode: str = "verify-full", **files: Path) -> str:
        named = {"sslrootcert": self.volume.ca, "sslcert": self.volume.cert, "sslkey": self.volume.key, **files}
        return f"{self.server.dsn}?sslmode={mode}" + "".join(f"&{name}={path}" for name, path in named.items())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    authority, other = Authority(tmp_path / "authority"), Authority(tmp_path / "other")
    both = tmp_path / "both.pem"
    both.write_bytes(authority.certificate.read_bytes() + other.certificate.read_bytes())
    cert, key = authority.issue("server", "127.0.0.1")
    volume = Volume(tmp_path / "node").fill(authority.issue("node", "a-node"), authority.certificate)
    tls = {"ssl_cert_file": cert, "ssl_key_file": key, "ssl_ca_file": both}
    with server(Path("/var/tmp"), tls) as running:
        yield Bench(running, authority, other, volume)


async def reason(dsn: str) -> GoverseError:
    """Return the error of a connection that fails."""
    try:
        await asyncio.wait_for(Connections(PostgresOptions(dsn=dsn)).dedicated(), 15.0)
    except Exception as error:
        return translated(error)
    raise AssertionError("the connection was accepted")


async def encrypted(connections: Connections) -> str:
    """Return the TLS version of a new connection and the issuer of its client certificate."""
    connection = await connections.dedicated()
    try:
        query = "SELECT version || ' ' || issuer_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        return str(await connection.fetchval(query))
    finally:
        await connections.hang_up(connection)


async def test_both_sides_show_a_certificate(bench: Bench) -> None:
    for mode in ("require", "verify-ca", "verify-full"):
        assert (await encrypted(Connections(PostgresOptions(dsn=bench.dsn(mode))))).startswith("TLSv1.3 ")


async def test_an_untrusted_peer_is_refused_with_the_reason(bench: Bench, tmp_path: Path) -> None:
    foreign = Authority(tmp_path / "foreign")
    stranger = foreign.issue("stranger", "a-node")
    cases = {
        bench.dsn(sslrootcert=foreign.certificate): "certificate verify failed",
        bench.dsn().replace("127.0.0.1", "localhost"): "Hostname mismatch",
        bench.dsn(sslcert=stranger[0], sslkey=stranger[1]): "unknown ca|closed",
        f"{bench.server.dsn}?sslmode=verify-full&sslrootcert={bench.volume.ca}": "requires a valid client certificate",
        f"{bench.server.dsn}?sslmode=disable": "no encryption",
    }
    for dsn, said in cases.items():
        assert re.search(said, (await reason(dsn)).detail), dsn


async def test_a_server_without_tls_is_named(bench: Bench) -> None:
    with server(Path("/var/tmp")) as plain:
        query = bench.dsn().partition("?")[2]
        assert "rejected SSL upgrade" in (await reason(f"{plain.dsn}?{query}")).detail


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslkey"])
def test_unusable_files_are_refused_at_the_start(name: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("node", "a-node")
    files = {"sslrootcert": authority.certificate, "sslcert": cert, "sslkey": key, name: tmp_path / "none.pem"}
    dsn = "postgresql://db/x?sslmode=verify-full" + "".join(f"&{key}={value}" for key, value in files.items())

    with pytest.raises(ConfigError, match=rf"postgres\.dsn \({name}\): .*none\.pem cannot be read"):
        PostgresStore(PostgresOptions(dsn=dsn))


def test_options_of_the_driver_are_passed_on(tmp_path: Path) -> None:
    ca = Authority(tmp_path).certificate
    for query in ("", "?sslmode=prefer", "?sslmode=require", f"?sslmode=verify-full&sslrootcert={ca}&sslcrl={ca}"):
        assert certificates_of(f"postgresql://db/x{query}") is None


async def test_files_change_under_load_and_a_broken_pair_keeps_the_previous_one(bench: Bench) -> None:
    connections = Connections(PostgresOptions(dsn=bench.dsn()))
    certificates = connections.certificates
    assert certificates is not None
    await connections.open()
    done: list[int] = []

    async def load() -> None:
        while True:
            async with connections.pool.acquire() as connection:
                done.append(await connection.fetchval("SELECT 1"))

    tasks = [asyncio.create_task(load()) for _ in range(2)]
    try:
        before = await encrypted(connections)
        bench.volume.fill(bench.other.issue("renewed", "a-node"), bench.authority.certificate)
        certificates.check()
        certificates.check()
        after = await encrypted(connections)
        bench.volume.key.write_bytes(b"broken")
        certificates.check()
        certificates.check()
        kept = await encrypted(connections)
        await connections.pool.expire_connections()
        counted = len(done)
        await until(lambda: len(done) > counted + 50 or any(task.done() for task in tasks))
    finally:
        for task in tasks:
            task.cancel()
        failures = [
            error for error in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(error, Exception)
        ]
        with suppress(Exception):
            await connections.close()

    assert failures == []
    assert before != after
    assert kept == after
    assert certificates.reloads == {"taken": 1, "refused": 1}


async def test_a_removed_authority_is_no_longer_trusted(bench: Bench) -> None:
    bench.volume.fill(bench.authority.issue("again", "a-node"), bench.other.certificate)

    assert "certificate verify failed" in (await reason(bench.dsn())).detail


def test_commands_over_tls(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["-o", "json", "db", "migrate", "--dsn", bench.dsn()]) == 0
    assert json.loads(capsys.readouterr().out)["applied"]
    assert main.run(["-o", "json", "db", "status", "--dsn", bench.dsn(sslrootcert=bench.other.certificate)]) == 3
    assert "certificate verify failed" in json.loads(capsys.readouterr().err)["detail"]
