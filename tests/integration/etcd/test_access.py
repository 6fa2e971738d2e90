"""Authentication by users and certificates: accepted and refused clients, and expired tokens."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from goverse.errors import ConfigError, CoordinatorError, Unavailable
from goverse.etcd.options import EtcdOptions
from goverse.ports.coordinator import Put
from goverse.testing.coordinator_harness import next_of, put
from tests.certificates import Authority
from tests.etcd_server import EtcdCluster, etcd_cluster
from tests.integration.etcd.clients import PATIENCE_S, client_of, following, insist, until
from tests.tcp_proxy import proxy_to

pytestmark = pytest.mark.requirement("CLU-1")

USER = {"username": "goverse", "password": "geheim, mit Ümlaut"}


def _text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


async def lock(cluster: EtcdCluster) -> None:
    """Enable authentication, with an administrator and a user for the keys below /n/."""
    await cluster.ask("auth/user/add", {"name": "root", "password": "root"})
    await cluster.ask("auth/role/add", {"name": "root"})
    await cluster.ask("auth/user/grant", {"user": "root", "role": "root"})
    await cluster.ask("auth/user/add", {"name": USER["username"], "password": USER["password"]})
    await cluster.ask("auth/role/add", {"name": "ours"})
    permission = {"permType": "READWRITE", "key": _text("/n/"), "range_end": _text("/n0")}
    await cluster.ask("auth/role/grant", {"name": "ours", "perm": permission})
    await cluster.ask("auth/user/grant", {"user": USER["username"], "role": "ours"})
    await cluster.ask("auth/enable", {})


@pytest.fixture
async def locked(tmp_path: Path) -> AsyncIterator[EtcdCluster]:
    """An etcd with authentication. Its tokens expire after one second without use."""
    async with etcd_cluster(tmp_path, options=["--auth-token-ttl=1"]) as cluster:
        await lock(cluster)
        yield cluster


async def test_a_user_is_accepted(locked: EtcdCluster) -> None:
    async with client_of(locked.urls, **USER) as client, following(client, "/n/") as follower:
        lease = await client.grant(30.0)
        revision = await put(client, "/n/x", b"1", lease_id=lease.lease_id)
        assert await client.refresh(lease.lease_id) is not None
        await until(lambda: follower.revision == revision)
        await client.revoke(lease.lease_id)

        assert (await client.read("/n/")).entries == []


async def test_strangers_wrong_passwords_and_foreign_keys_are_refused(locked: EtcdCluster) -> None:
    async with client_of(locked.urls) as stranger:
        with pytest.raises(CoordinatorError, match="user name is empty"):
            await stranger.read("/n/")
        with pytest.raises(CoordinatorError, match="user name is empty"):
            await stranger.write([], [Put("/n/x", b"")])
        with pytest.raises(CoordinatorError, match="user name is empty"):
            await next_of(stranger.watch("/n/", 1))
    async with client_of(locked.urls, username=USER["username"], password="wrong") as impostor:
        with pytest.raises(CoordinatorError, match="invalid user ID or password"):
            await impostor.read("/n/")
        with pytest.raises(CoordinatorError, match="invalid user ID or password"):
            await next_of(impostor.watch("/n/", 1))
    async with client_of(locked.urls, **USER) as client:
        with pytest.raises(CoordinatorError, match="permission denied"):
            await client.write([], [Put("/foreign", b"")])
        with pytest.raises(CoordinatorError, match="permission denied"):
            await client.read("/foreign")
        with pytest.raises(CoordinatorError, match="permission denied"):
            await next_of(client.watch("/foreign", 1))
        assert (await client.read("/n/")).entries == []


async def test_a_token_that_expired_is_replaced(locked: EtcdCluster) -> None:
    async with (
        proxy_to(locked.members[0].port) as proxy,
        client_of([f"http://127.0.0.1:{proxy.port}"], **USER) as client,
        client_of(locked.urls, **USER) as writer,
        following(client, "/n/") as follower,
    ):
        operations: list[Callable[[], Awaitable[object]]] = [
            lambda: client.read("/n/"),
            lambda: put(client, "/n/x", b""),
            lambda: client.grant(5.0),
        ]
        for operation in operations:
            await expired(locked)
            await operation()
        await expired(locked)
        proxy.cut()  # the watch must get a new token by itself: this client makes no other request
        last = await put(writer, "/n/x", b"last")
        await until(lambda: follower.revision == last)

        assert follower.reloads == 0


def _is_past(moment: float) -> bool:
    return asyncio.get_running_loop().time() > moment


async def expired(cluster: EtcdCluster) -> None:
    """Wait until every token that was issued before and not used since has expired.

    Using a token extends it, so each new token is tried only once, after more than twice its lifetime. If etcd has not
    removed it by then, the next one is tried.
    """
    loop, credentials = asyncio.get_running_loop(), {"name": "goverse", "password": USER["password"]}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            token = (await cluster.ask("auth/authenticate", credentials))["token"]
            end = loop.time() + 2.5
            await until(partial(_is_past, end))
            try:
                await cluster.ask("kv/range", {"key": _text("/n/probe")}, token=token)
            except AssertionError as refused:
                assert "invalid auth token" in str(refused)  # noqa: PT017  # any other error is a failure
                return


async def test_a_client_recovers_when_a_restarted_member_has_forgotten_its_token(locked: EtcdCluster) -> None:
    async with client_of(locked.urls, **USER) as client, following(client, "/n/") as follower:
        await put(client, "/n/x", b"1")
        [member] = locked.members
        member.stop()
        member.start()
        last = await insist(lambda: client.write([], [Put("/n/x", b"2")]))
        await until(lambda: follower.revision == last)

        assert [value for _, value, _ in follower.log] == [b"1", b"2"]


async def test_a_user_is_ignored_if_authentication_is_disabled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with etcd_cluster(tmp_path) as cluster, client_of(cluster.urls, **USER) as client:
        assert await put(client, "/n/x", b"") > 0

    assert "etcd authentication is disabled" in caplog.text


async def test_certificates_of_an_own_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    stranger = Authority(tmp_path / "stranger")
    async with etcd_cluster(tmp_path, members=3, authority=authority) as cluster:
        files = {"tls_cert": cluster.tls["client-cert-file"], "tls_key": cluster.tls["client-key-file"]}
        names = [url.replace("127.0.0.1", "localhost") for url in cluster.urls]
        async with (
            client_of(names, tls_ca=authority.certificate, **files) as client,
            following(client, "/n/") as follower,
        ):
            (await cluster.leader()).kill()
            revision = await insist(lambda: client.write([], [Put("/n/x", b"1")]))
            await until(lambda: follower.revision == revision)
        for wrong in (
            {"tls_ca": stranger.certificate, **files},
            {"tls_ca": authority.certificate},
            {"tls_ca": authority.certificate, **dict(zip(files, stranger.issue("us", "us.example"), strict=True))},
        ):
            async with client_of(cluster.urls, operation_timeout_s=1.0, **wrong) as client:
                with pytest.raises(Unavailable):
                    await client.read("/n/")


async def test_a_certificate_for_another_host_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    async with etcd_cluster(tmp_path, authority=authority) as cluster:
        files = {"tls_cert": cluster.tls["client-cert-file"], "tls_key": cluster.tls["client-key-file"]}
        url = cluster.urls[0].replace("127.0.0.1", "127.0.0.2")
        options = {"tls_ca": authority.certificate, "operation_timeout_s": 1.0, **files}
        async with proxy_to(cluster.members[0].port, host="127.0.0.2") as proxy:
            async with client_of([f"https://127.0.0.2:{proxy.port}"], **options) as client:
                with pytest.raises(Unavailable):
                    await client.read("/n/")
            assert proxy.streams_begun > 0
            assert url not in cluster.urls


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"

    async def connect() -> None:
        async with client_of(["https://127.0.0.1:1"], tls_ca=missing):
            pass

    with pytest.raises(ConfigError, match=r"none\.pem cannot be read: No such file"):
        asyncio.run(asyncio.wait_for(connect(), PATIENCE_S))


def test_contradicting_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="name at least one member"):
        EtcdOptions(endpoints=())
