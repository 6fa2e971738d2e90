"""Streams over mutual TLS: accepted and refused peers, the texts of refusals, and rotation of certificates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from goverse.errors import ConfigError
from goverse.model.frames import Operation, Request
from goverse.model.keys import ObjectKey
from goverse.settings import load_settings
from goverse.settings.cluster_sections import WireSettings
from goverse.tls.credentials import LinkSecurity, WireCertificates, server_credentials, wire_certificates
from goverse.tls.rotation import Rotating
from goverse.wire.link import GrpcLink
from goverse.wire.link_state import LinkPhase
from goverse.wire.peer_role import RoleNames
from tests.certificates import Authority, Volume
from tests.integration.wire.asking import ask, outcome
from tests.links import NODE, ledgers, link_to, server_of
from tests.load import Load
from tests.nodes import until

pytestmark = pytest.mark.requirement("SEC-3")

NAME, GATE_NAME = "goverse-node", "goverse-gate"
ROLES, STRICT = RoleNames(NAME), RoleNames(NAME, GATE_NAME)
CHAIN = (ObjectKey("default", "Ledger", "z"),)


def rotating(volume: Volume) -> Rotating[WireCertificates]:
    """Return the certificates as a process loads them from settings with these files."""
    settings = WireSettings(tls_ca=volume.ca, tls_cert=volume.cert, tls_key=volume.key)
    files = settings.tls_files()
    assert files is not None
    return Rotating(files, wire_certificates)


class Bench:
    """An authority, and the certificates that it signed for a node and a gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "authority")
        self.stranger = Authority(folder / "stranger")
        self.node = Volume(folder / "node").fill(self.authority.issue("node", NAME), self.authority.certificate)
        self.gate = Volume(folder / "gate").fill(self.authority.issue("gate", "a-gate"), self.authority.certificate)

    def security(self, volume: Volume | None = None, name: str = NAME) -> LinkSecurity:
        return LinkSecurity(rotating(volume or self.gate), name)

    def volume(self, name: str, pair: tuple[Path, Path], *authorities: Path) -> Volume:
        return Volume(self.folder / name).fill(pair, *authorities)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@asynccontextmanager
async def serving(certificates: Rotating[WireCertificates] | None, roles: RoleNames = ROLES) -> AsyncIterator[str]:
    """Run a node behind a server with these certificates; yield its address."""
    parts: dict[str, Any] = {}
    if certificates is not None:
        parts = {"credentials": server_credentials(certificates), "roles": roles}
    async with ledgers() as node, server_of(node, **parts) as (_, address):
        yield address


async def refused(address: str, security: LinkSecurity | None) -> str:
    """Return the reason why a link to the address is broken, and check that calls over it fail without an effect."""
    async with link_to(address, connected=False, security=security) as link:
        await until(lambda: link.state.phase is LinkPhase.BROKEN)
        assert outcome(await asyncio.wait_for(ask(link, "add"), 5.0)) == ("unavailable", "no")
        return link.state.reason


async def test_both_sides_show_a_certificate(bench: Bench) -> None:
    async with serving(rotating(bench.node)) as address, link_to(address, security=bench.security()) as link:
        assert (await ask(link, "add")).problem is None


STRANGERS: dict[str, tuple[Callable[[Bench], LinkSecurity | None], str]] = {
    "no TLS": (lambda bench: None, "the server requires TLS"),
    "another name": (lambda bench: bench.security(name="other-node"), "Hostname Verification Check failed"),
    "a node of another authority": (
        lambda bench: bench.security(
            bench.volume("v", bench.authority.issue("g", "a-gate"), bench.stranger.certificate)
        ),
        "CERTIFICATE_VERIFY_FAILED",
    ),
    "a foreign certificate": (
        lambda bench: bench.security(
            bench.volume("v", bench.stranger.issue("g", "a-gate"), bench.authority.certificate)
        ),
        "the server rejects our certificate",
    ),
}


@pytest.mark.parametrize("kind", STRANGERS)
async def test_an_untrusted_peer_gets_a_clear_refusal(kind: str, bench: Bench) -> None:
    who, said = STRANGERS[kind]
    async with serving(rotating(bench.node)) as address:
        assert said in await refused(address, who(bench))


# --- gates and nodes --------------------------------------------------------------------------------------------------

FORGERIES: dict[str, dict[str, Any]] = {
    "a call chain": {"chain": CHAIN},
    "a call chain and the key of its call": {"chain": CHAIN, "idempotency_key": "~0f"},
    "the key of a call between objects": {"idempotency_key": "gv-~0f", "fresh_key": True},
    "the key of such a call for a client": {"idempotency_key": "~0f"},
}


@pytest.mark.parametrize("what", FORGERIES)
async def test_a_gate_cannot_send_what_only_a_node_may_send(
    what: str, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(rotating(bench.node)) as address, link_to(address, security=bench.security()) as link:
        for _ in range(2):
            reply = await ask(link, "add", **FORGERIES[what])
            assert outcome(reply) == ("access_denied", "no")
            assert reply.problem is not None
            assert reply.problem.extra["rule"] == "peer"
            assert not reply.problem.retryable
            assert "which only nodes send" in reply.problem.detail
        assert (await ask(link, "add", idempotency_key="k")).body == b"1", "its own requests are served, and only these"
        assert (await ask(link, "add", idempotency_key="gv-0123456789abcdef-1", fresh_key=True)).body == b"2"
    assert [record.message for record in caplog.records].count("request refused") == 1


async def test_a_gate_cannot_create_what_only_objects_may_create(bench: Bench) -> None:
    async with serving(rotating(bench.node)) as address, link_to(address, security=bench.security()) as link:
        deadline = asyncio.get_running_loop().time() + 20
        key = ObjectKey("default", "Ledger", "new")
        for operation in (Operation.CREATE, Operation.DELETE, Operation.READ):
            reply = await link.submit(Request(operation, key, "", b"", deadline, "r1", chain=CHAIN))
            assert outcome(reply) == ("access_denied", "no")


@pytest.mark.parametrize("roles", [ROLES, STRICT])
async def test_a_node_sends_the_calls_of_its_objects(roles: RoleNames, bench: Bench) -> None:
    security, hello = bench.security(bench.node), replace(NODE, id="n2")
    async with (
        serving(rotating(bench.node), roles) as address,
        link_to(address, security=security, hello=hello) as link,
    ):
        for forgery in FORGERIES.values():
            assert (await ask(link, "add", **forgery)).problem is None


async def test_a_process_that_says_it_is_a_node_needs_the_certificate_of_one(bench: Bench) -> None:
    async with (
        serving(rotating(bench.node)) as address,
        link_to(address, security=bench.security(), hello=replace(NODE, id="n2"), connected=False) as link,
    ):
        assert outcome(await ask(link, "add")) == ("unavailable", "no")
        assert "node n2" in link.state.reason
        assert "does not carry the name goverse-node (wire.tls_name); its names are: a-gate" in link.state.reason


async def test_with_a_name_for_gates_other_certificates_are_refused_until_they_are_renewed(bench: Bench) -> None:
    shown = rotating(bench.gate)
    security = LinkSecurity(shown, NAME)
    async with (
        serving(rotating(bench.node), STRICT) as address,
        link_to(address, security=security, connected=False) as link,
    ):
        assert outcome(await ask(link, "add")) == ("unavailable", "no")
        assert "neither the name of nodes, goverse-node (wire.tls_name), nor that of gates" in link.state.reason

        bench.gate.fill(bench.authority.issue("gate", "localhost", GATE_NAME), bench.authority.certificate)
        shown.check()
        shown.check()
        await until(lambda: link.state.phase is LinkPhase.CONNECTED)
        assert (await ask(link, "add")).problem is None
        assert outcome(await ask(link, "add", chain=CHAIN)) == ("access_denied", "no")


async def test_a_stream_keeps_its_role_and_a_renewed_certificate_counts_from_the_next_one_on(bench: Bench) -> None:
    shown = rotating(bench.gate)
    security, hello = LinkSecurity(shown, NAME), replace(NODE, id="n2")
    bench.gate.fill(bench.authority.issue("both", NAME, GATE_NAME), bench.authority.certificate)
    shown.check()
    shown.check()
    async with serving(rotating(bench.node)) as address, link_to(address, security=security, hello=hello) as steady:
        assert (await ask(steady, "add", chain=CHAIN)).problem is None
        bench.gate.fill(bench.authority.issue("gate", GATE_NAME), bench.authority.certificate)
        shown.check()
        shown.check()
        assert (await ask(steady, "add", chain=CHAIN)).problem is None
        async with link_to(address, security=security) as fresh:
            assert outcome(await ask(fresh, "add", chain=CHAIN)) == ("access_denied", "no")


def test_gates_and_nodes_need_different_names() -> None:
    with pytest.raises(
        ConfigError, match=r"wire.tls_gate_name.*must differ from wire\.tls_name, which is goverse-node"
    ):
        load_settings(environ={"GOVERSE_WIRE__TLS_GATE_NAME": "GoVerse-Node"})


# --- renewal ----------------------------------------------------------------------------------------------------------


async def test_a_certificate_that_expires_while_it_is_used_is_refused(bench: Bench) -> None:
    pair = bench.authority.issue_expired("old", "a-gate")
    files = WireSettings(tls_ca=bench.gate.ca, tls_cert=pair[0], tls_key=pair[1]).tls_files()
    assert files is not None
    then = Rotating(files, wire_certificates, now=lambda: 1_577_880_000.0)  # a time at which the certificate was valid
    async with serving(rotating(bench.node)) as address:
        assert "the server rejects our certificate" in await refused(address, LinkSecurity(then, NAME))


async def test_a_missing_certificate_is_refused(bench: Bench) -> None:
    import grpc

    async with serving(rotating(bench.node)) as address:
        options = [("grpc.ssl_target_name_override", NAME)]
        anonymous = grpc.ssl_channel_credentials(bench.authority.certificate.read_bytes())
        async with grpc.aio.secure_channel(address, anonymous, options=options) as channel:
            call: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(call(b""), 5.0)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_server_without_tls_is_named(bench: Bench) -> None:
    async with serving(None) as address:
        assert "the server does not use TLS" in await refused(address, bench.security())


async def test_certificates_change_under_load_and_an_authority_goes_without_a_failed_call(bench: Bench) -> None:
    """The new authority is first trusted beside the old one, then signs all certificates, then is the only one."""
    served, shown = rotating(bench.node), rotating(bench.gate)
    old, new = bench.authority, bench.stranger
    late = bench.volume("late", old.issue("late", "a-gate"), old.certificate, new.certificate)

    def change(*authorities: Path, signer: Authority) -> None:
        bench.node.fill(signer.issue("node", NAME), *authorities)
        bench.gate.fill(signer.issue("gate", "a-gate"), *authorities)
        for link in (served, shown):
            link.check()
            link.check()

    async with serving(served) as address:
        security = LinkSecurity(shown, NAME)
        async with link_to(address, security=security) as steady, load_on(steady) as steady_load:
            steps = [((old, new), old), ((old, new), new), ((new,), new)]
            for authorities, signer in steps:
                change(*(one.certificate for one in authorities), signer=signer)
                async with link_to(address, security=security) as fresh:
                    assert (await ask(fresh, "add", "b")).problem is None
                    await steady_load.goes_on()
            assert steady_load.failed == []
            assert steady.state.phase is LinkPhase.CONNECTED

        assert served.reloads == {"taken": 3, "refused": 0}
        assert "the server rejects our certificate" in await refused(address, bench.security(late))


@asynccontextmanager
async def load_on(link: GrpcLink) -> AsyncIterator[Load]:
    """Run four tasks that call without a pause until the block ends."""
    load = Load()

    async def go_on() -> None:
        while True:
            code, _ = outcome(await ask(link, "add"))
            load.done += 1
            if code:
                load.failed.append(code)

    tasks = [asyncio.create_task(go_on()) for _ in range(4)]
    try:
        yield load
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_broken_pair_does_not_prevent_new_streams(bench: Bench) -> None:
    served = rotating(bench.node)
    async with serving(served) as address:
        bench.node.key.write_bytes(b"broken")
        served.check()
        served.check()

        async with link_to(address, security=bench.security()) as link:
            assert (await ask(link, "add")).problem is None
    assert served.reloads == {"taken": 0, "refused": 1}
