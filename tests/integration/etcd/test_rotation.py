"""Rotation of the etcd client's certificates: new connections use the newest ones, open ones continue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from goverse.errors import Unavailable
from goverse.etcd.connections import credentials_of
from goverse.etcd.coordinator import EtcdCoordinator
from goverse.etcd.options import Endpoint, EtcdOptions
from goverse.ports.coordinator import Put
from goverse.testing.coordinator_harness import put
from goverse.tls.credentials import Credentials
from tests.certificates import Authority, Volume
from tests.etcd_server import EtcdCluster, etcd_cluster
from tests.integration.etcd.clients import PATIENCE_S, following, insist, until
from tests.tcp_proxy import TcpProxy, proxy_to

pytestmark = pytest.mark.requirement("SEC-3", "CLU-1")


@asynccontextmanager
async def client_of(
    url: str, volume: Volume, *, patience_s: float = 10.0
) -> AsyncIterator[tuple[EtcdCoordinator, Credentials]]:
    """Run a client; yield it with its credentials."""
    options = EtcdOptions(
        endpoints=(Endpoint.parse(url),),
        tls_ca=volume.ca,
        tls_cert=volume.cert,
        tls_key=volume.key,
        operation_timeout_s=patience_s,
    )
    credentials = credentials_of(options)
    assert credentials is not None
    client = EtcdCoordinator(options, credentials=credentials)
    try:
        yield client, credentials
    finally:
        await client.close()


class Bench:
    """An etcd behind a proxy that requires client certificates, and the files of a client."""

    def __init__(self, folder: Path, authority: Authority, cluster: EtcdCluster, proxy: TcpProxy) -> None:
        self.authority, self.stranger = authority, Authority(folder / "stranger")
        self.cluster, self.proxy = cluster, proxy
        self.url = f"https://127.0.0.1:{proxy.port}"
        self.volume = Volume(folder / "client").fill(authority.issue("first", "a-node"), authority.certificate)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    authority = Authority(tmp_path / "authority")
    async with etcd_cluster(tmp_path, authority=authority) as cluster, proxy_to(cluster.members[0].port) as proxy:
        yield Bench(tmp_path, authority, cluster, proxy)


async def refused(client: EtcdCoordinator, said: str) -> None:
    """Read until the error contains this reason. On a busy machine an attempt may time out before etcd sends it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with pytest.raises(Unavailable) as caught:
                await client.read("/n/")
            if said in caught.value.detail:
                return


def look(credentials: Credentials) -> None:
    credentials.check()
    credentials.check()


async def test_certificates_change_under_load_without_a_failed_request(bench: Bench) -> None:
    async with client_of(bench.url, bench.volume) as (client, credentials), following(client, "/n/") as follower:
        done: list[int] = []

        async def load() -> None:
            while True:
                await client.read("/n/")
                done.append(await put(client, "/n/x", b"1"))

        task = asyncio.create_task(load())
        for number in range(3):
            bench.volume.fill(bench.authority.issue(f"next-{number}", "a-node"), bench.authority.certificate)
            look(credentials)
            enough = len(done) + 20
            await until(partial(lambda enough: len(done) > enough or task.done(), enough))
        assert not task.done()
        task.cancel()
        last = await put(client, "/n/x", b"last")
        await until(lambda: follower.revision == last)
        assert follower.reloads == 0
        assert credentials.reloads == {"taken": 3, "refused": 0}


async def test_a_broken_connection_is_replaced_with_the_newest_certificate(bench: Bench) -> None:
    """The first certificate is signed by an authority that etcd does not trust; only the renewed one is accepted."""
    bench.volume.fill(bench.stranger.issue("first", "a-node"), bench.authority.certificate)
    async with client_of(bench.url, bench.volume, patience_s=3.0) as (client, credentials):
        await refused(client, "the server rejects our certificate")
        bench.volume.fill(bench.authority.issue("renewed", "a-node"), bench.authority.certificate)
        look(credentials)

        assert (await insist(lambda: client.read("/n/"))).entries == []
        bench.volume.fill(bench.stranger.issue("worse", "a-node"), bench.authority.certificate)
        look(credentials)
        assert (await insist(lambda: client.read("/n/"))).entries == [], "an open connection continues"
        bench.volume.fill(bench.authority.issue("again", "a-node"), bench.authority.certificate)
        look(credentials)
        bench.proxy.cut()
        await insist(lambda: client.write([], [Put("/n/x", b"1")]))


async def test_a_removed_authority_is_no_longer_trusted(bench: Bench) -> None:
    async with client_of(bench.url, bench.volume, patience_s=3.0) as (client, credentials):
        await insist(lambda: client.read("/n/"))
        bench.volume.fill(bench.authority.issue("next", "a-node"), bench.stranger.certificate)
        look(credentials)
        assert (await insist(lambda: client.read("/n/"))).entries == [], "an open connection continues"
        bench.proxy.cut()
        with suppress(Unavailable):
            await client.read("/n/")

        await refused(client, "CERTIFICATE_VERIFY_FAILED")


async def test_a_broken_pair_keeps_the_previous_one(bench: Bench) -> None:
    async with client_of(bench.url, bench.volume) as (client, credentials):
        bench.volume.key.write_bytes(b"broken")
        look(credentials)
        bench.proxy.cut()

        assert (await insist(lambda: client.read("/n/"))).entries == []
        assert credentials.reloads == {"taken": 0, "refused": 1}


async def test_a_refused_connection_names_its_reason(bench: Bench) -> None:
    [plain_url] = [url.replace("https", "http") for url in bench.cluster.urls]
    cases = {
        "CERTIFICATE_VERIFY_FAILED": Volume(bench.volume.folder.parent / "a").fill(
            bench.authority.issue("a", "a-node"), bench.stranger.certificate
        ),
        "the server rejects our certificate": Volume(bench.volume.folder.parent / "b").fill(
            bench.stranger.issue("b", "a-node"), bench.authority.certificate
        ),
    }
    for said, volume in cases.items():
        async with client_of(bench.url, volume, patience_s=3.0) as (client, _):
            await refused(client, said)
    in_the_clear = EtcdCoordinator(EtcdOptions(endpoints=(Endpoint.parse(plain_url),), operation_timeout_s=1.0))
    await refused(in_the_clear, "the server requires TLS")
    await in_the_clear.close()
