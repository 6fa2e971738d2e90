"""HTTPS: TLS versions, client certificates, and rotation of certificates and authorities while the gate serves."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from goverse.settings.sections import GateSettings
from goverse.tls.rotation import Rotating
from goverse_cli.failure import Failure
from goverse_cli.server_client import ServerClient
from goverse_cli.trust import Trust
from goverse_gate.options import GateOptions
from goverse_gate.tls import Refusals, server_context
from tests.certificates import Authority, Volume
from tests.gate.serving import Serving, serving
from tests.gate.wire import until

pytestmark = pytest.mark.requirement("SEC-3")

INCREMENT = "/objects/Counter/c1/call/increment"
PATIENCE_S = 30.0


class Bench:
    """Two authorities, and the files of a gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.other = Authority(folder / "authority"), Authority(folder / "other")
        self.volume = Volume(folder / "gate").fill(self.pair(self.authority), self.authority.certificate)

    def pair(self, authority: Authority, name: str = "gate") -> tuple[Path, Path]:
        return authority.issue(name, "localhost", "127.0.0.1")

    def rotating(self, *, clients: bool = False, volume: Volume | None = None) -> Rotating[ssl.SSLContext]:
        volume = volume or self.volume
        clients_ca = volume.ca if clients else None
        files = GateSettings(tls_cert=volume.cert, tls_key=volume.key, tls_client_ca=clients_ca).tls_files()
        assert files is not None
        return Rotating(files, server_context)

    def believing(self, *authorities: Authority, shown: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata="".join(one.certificate.read_text() for one in authorities))
        if shown is not None:
            context.load_cert_chain(*shown)
        return context


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@asynccontextmanager
async def client_of(gate: Serving, context: ssl.SSLContext) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=gate.server.url, verify=context, trust_env=False, timeout=PATIENCE_S) as made:
        yield made


async def shaken(gate: Serving, context: ssl.SSLContext) -> ssl.SSLObject:
    """Connect and read one response. With TLS 1.3 only a response proves that the client certificate was accepted."""
    host, port = gate.server.url.removeprefix("https://").split(":")
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        done: ssl.SSLObject = writer.get_extra_info("ssl_object")
        writer.transport.abort()
    return done


def look(rotating: Rotating[Any]) -> None:
    rotating.check()
    rotating.check()


async def test_calls_over_https_prefer_the_newest_version(bench: Bench) -> None:
    async with serving(certificates=bench.rotating()) as gate:
        assert gate.server.url.startswith("https://")
        trusting = bench.believing(bench.authority)
        trusting.set_alpn_protocols(["h2", "http/1.1"])
        async with client_of(gate, trusting) as client:
            answer = await client.post(INCREMENT)
            assert (answer.status_code, answer.text) == (200, "1")
            assert "strict-transport-security" not in answer.headers
            assert (await client.post(INCREMENT, headers={"Origin": gate.server.url})).text == "2"
        done = await shaken(gate, trusting)
        assert (done.version(), done.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")

        trusting.maximum_version = ssl.TLSVersion.TLSv1_2
        assert (await shaken(gate, trusting)).version() == "TLSv1.2"


@pytest.mark.parametrize("suites", ["ECDHE+AES128+SHA256:!AESGCM:!aNULL", "ECDHE+AES+SHA:!AESGCM", "AES128-GCM-SHA256"])
async def test_suites_of_cbc_mode_and_without_forward_secrecy_are_refused(bench: Bench, suites: str) -> None:
    async with serving(certificates=bench.rotating()) as gate:
        context = bench.believing(bench.authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(suites)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shaken(gate, context)
        context.set_ciphers("ECDHE+AESGCM")
        assert (await shaken(gate, context)).version() == "TLSv1.2"


async def test_versions_before_1_2_are_refused(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(certificates=bench.rotating()) as gate:
        old = bench.believing(bench.authority)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="deprecated"):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning, match="deprecated"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        Refusals.reported_at = 0.0  # a previous test may have used up the line of this second
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shaken(gate, old)
        await until(lambda: "TLS handshake failed" in caplog.text)


async def test_an_untrusted_client_gets_a_clear_error(
    bench: Bench, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    ours, theirs = bench.pair(bench.authority, "ours"), bench.pair(bench.other, "theirs")
    old = bench.authority.issue_expired("old", "a-client")
    cases: dict[str, tuple[tuple[Path, Path] | None, str]] = {
        "none": (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        "foreign": (theirs, "unable to get local issuer certificate"),
        "expired": (old, "certificate has expired"),
    }
    async with serving(certificates=bench.rotating(clients=True)) as gate:
        async with client_of(gate, bench.believing(bench.authority, shown=ours)) as client:
            assert (await client.post(INCREMENT)).status_code == 200
        for name, (pair, said) in cases.items():
            with subtests.test(name):
                _quiet()
                caplog.clear()
                async with client_of(gate, bench.believing(bench.authority, shown=pair)) as client:
                    with pytest.raises(httpx.TransportError):
                        await client.post(INCREMENT)
                await until(lambda: caplog.records)
                assert caplog.records[0].__dict__["reason"] == said
                assert caplog.records[0].__dict__["link"] == "gate"
        assert len(gate.link.requests) == 1


async def test_errors_of_the_command_line(bench: Bench, tmp_path: Path, subtests: pytest.Subtests) -> None:
    ours, theirs = bench.pair(bench.authority, "ours"), bench.pair(bench.other, "theirs")
    ca, foreign = bench.authority.certificate, bench.other.certificate
    elsewhere = Volume(tmp_path / "elsewhere").fill(bench.authority.issue("elsewhere", "elsewhere.example"), ca)
    async with (
        serving(certificates=bench.rotating(clients=True)) as gate,
        serving() as plain,
        serving(certificates=bench.rotating(volume=elsewhere)) as else_,
    ):
        https, http = gate.server.url, plain.server.url
        cases: dict[str, tuple[str, Trust, str, str]] = {
            "another authority": (https, Trust(foreign, *ours), "self-signed certificate in certificate chain", "--ca"),
            "the system's": (https, Trust(None, *ours), "self-signed certificate in certificate chain", "--ca"),
            "another name": (
                else_.server.url,
                Trust(ca),
                "ip address mismatch",
                "host name that the certificate contains",
            ),
            "no certificate": (https, Trust(ca), "broke", "--cert"),
            "a foreign one": (https, Trust(ca, *theirs), "broke", "--cert"),
            "https to http": (http.replace("http", "https"), Trust(ca), "", "plain HTTP, use an http:// URL"),
            "http to https": (https.replace("https", "http"), Trust(), "broke", "use an https:// URL"),
            "half a pair": (https, Trust(ca, ours[0]), "--cert and --cert-key", ""),
            "no file": (https, Trust(tmp_path / "none.pem"), "none.pem cannot be read: No such file", ""),
            "no certificate in it": (https, Trust(ours[1]), "--ca: ", ""),
            "another's key": (https, Trust(ca, ours[0], theirs[1]), "key values mismatch", ""),
        }
        for name, (url, trust, said, hint) in cases.items():
            with subtests.test(name):
                with pytest.raises(Failure) as caught:
                    await asyncio.wait_for(asyncio.to_thread(_post, url, trust), PATIENCE_S)
                assert said in caught.value.message.lower().replace("_", " ") or said in caught.value.message
                assert hint in caught.value.hint
        assert await asyncio.to_thread(_post, https, Trust(ca, *ours)) == "1"


def _post(url: str, trust: Trust) -> str:
    return ServerClient(url, timeout_s=5.0, trust=trust).request("POST", INCREMENT).text


def _quiet() -> None:
    """Reset the rate limit of the log, so that the next failed handshake is logged."""
    Refusals.reported_at = 0.0


async def test_a_client_without_a_tls_handshake_is_disconnected(bench: Bench) -> None:
    async with serving(GateOptions(head_read_timeout_s=0.2), certificates=bench.rotating()) as gate:
        host, port = gate.server.url.removeprefix("https://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with socket.socket() as _:
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.transport.abort()


async def test_a_request_that_is_refused_within_its_body_still_gets_its_response(bench: Bench) -> None:
    async with serving(GateOptions(body_bytes_max=1_024), certificates=bench.rotating()) as gate:
        async with client_of(gate, bench.believing(bench.authority)) as client:
            answer = await client.post(INCREMENT, content=b"x" * 500_000)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_certificates_change_under_load_without_a_failed_call(bench: Bench) -> None:
    rotating = bench.rotating()
    context = bench.believing(bench.authority, bench.other)
    done: list[int] = []
    enough = asyncio.Event()  # a client that is cancelled while it connects leaves a socket open

    async def load(client: Callable[[], Any], *, reconnect: bool) -> None:
        while not enough.is_set():
            async with client() as one:
                for _ in range(1 if reconnect else 20):
                    done.append((await one.post(INCREMENT)).status_code)

    async with serving(certificates=rotating) as gate, client_of(gate, context) as steady:
        await steady.post(INCREMENT)
        tasks = [asyncio.create_task(load(lambda: client_of(gate, context), reconnect=each)) for each in (True, False)]
        for signer in (bench.other, bench.authority, bench.other):
            bench.volume.fill(bench.pair(signer), bench.authority.certificate)
            look(rotating)
            assert _issuer(await shaken(gate, context)) == _issuer_of(bench, signer)
            wanted = len(done) + 20
            await until(partial(lambda wanted: len(done) > wanted, wanted))
        await steady.post(INCREMENT)
        enough.set()
        await asyncio.gather(*tasks)
    assert set(done) == {200}
    assert rotating.reloads == {"taken": 3, "refused": 0}


def _issuer(done: ssl.SSLObject) -> object:
    shown = done.getpeercert()
    assert shown is not None
    return shown["issuer"]


def _issuer_of(bench: Bench, authority: Authority) -> object:
    return bench.believing(authority).get_ca_certs()[0]["subject"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_removed_authority_is_not_trusted_and_its_sessions_are_not_resumed(
    version: ssl.TLSVersion, bench: Bench
) -> None:
    bench.volume.fill(bench.pair(bench.authority), bench.authority.certificate, bench.other.certificate)
    rotating = bench.rotating(clients=True)
    leaving = bench.believing(bench.authority, shown=bench.pair(bench.other, "leaving"))
    staying = bench.believing(bench.authority, shown=bench.pair(bench.authority, "staying"))
    leaving.maximum_version = staying.maximum_version = version
    async with serving(certificates=rotating) as gate, client_of(gate, leaving) as before:
        assert (await before.post(INCREMENT)).status_code == 200
        session = (await shaken(gate, leaving)).session
        bench.volume.fill(bench.pair(bench.authority), bench.authority.certificate)
        look(rotating)

        assert (await before.post(INCREMENT)).status_code == 200, "an open connection keeps its certificates"
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await shaken(gate, leaving)
        assert session is not None
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(_resume, gate.server.url, leaving, session)
        async with client_of(gate, staying) as client:
            assert (await client.post(INCREMENT)).status_code == 200


def _resume(url: str, context: ssl.SSLContext, session: ssl.SSLSession) -> None:
    """Resume a TLS session, and read the response to a request.

    Raises:
        ConnectionError: the server sent no response.
    """
    host, port = url.removeprefix("https://").split(":")
    with (
        socket.create_connection((host, int(port)), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=host, session=session) as connection,
    ):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if not connection.recv(100):
            raise ConnectionError("hung up on")


async def test_a_broken_pair_keeps_the_gate_serving(bench: Bench) -> None:
    rotating = bench.rotating()
    async with serving(certificates=rotating) as gate:
        bench.volume.key.write_bytes(b"broken")
        look(rotating)
        async with client_of(gate, bench.believing(bench.authority)) as client:
            assert (await client.post(INCREMENT)).status_code == 200
    assert rotating.reloads == {"taken": 0, "refused": 1}
