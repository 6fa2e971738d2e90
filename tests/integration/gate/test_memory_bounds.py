"""Limits on memory that clients can make a gate use: unparsed bytes, bodies, and unread responses.

The tests measure the buffers of the protocol and of the transports, not times.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from goverse.limits import KIB, MIB
from goverse.model.frames import Reply, Request
from goverse.settings.sections import GateSettings
from goverse.tls.rotation import Rotating
from goverse_gate.options import GateOptions
from goverse_gate.protocol import BoundedProtocol
from goverse_gate.tls import server_context
from tests.certificates import Authority, Volume
from tests.gate.serving import Serving, serving
from tests.gate.wire import Wire, request, until

READ = "/objects/Counter/c1/call/read"
INCREMENT = "/objects/Counter/c1/call/increment"
HELD_BYTES_MAX = 512 * KIB  # of one connection: two read buffers of the event loop
RECEIVE_BUFFER_BYTES = 4 * KIB

pytestmark = [pytest.mark.requirement("GATE-9"), pytest.mark.asyncio]


@pytest.fixture(params=["http", "https"])
def certificates(request: pytest.FixtureRequest, tmp_path: Path) -> Rotating[ssl.SSLContext] | None:
    if request.param == "http":
        return None
    authority = Authority(tmp_path / "authority")
    volume = Volume(tmp_path / "gate").fill(authority.issue("gate", "localhost", "127.0.0.1"))
    files = GateSettings(tls_cert=volume.cert, tls_key=volume.key).tls_files()
    assert files is not None
    return Rotating(files, server_context)


@asynccontextmanager
async def dialled(gate: Serving, *, small: bool = False) -> AsyncIterator[Wire]:
    """Connect, with TLS if the gate uses it. A ``small`` client reads nearly nothing."""
    secure, _, address = gate.server.url.partition("://")
    host, _, port = address.rpartition(":")
    dialling = socket.socket()
    if small:
        dialling.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    dialling.setblocking(False)
    await asyncio.get_running_loop().sock_connect(dialling, (host, int(port)))
    context = None
    if secure == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        sock=dialling, ssl=context, server_hostname="localhost" if context else None, limit=16 * KIB
    )
    if small:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def connections(gate: Serving) -> list[BoundedProtocol]:
    return [one for one in gate.server._uvicorn.server_state.connections if isinstance(one, BoundedProtocol)]


def held(gate: Serving) -> list[int]:
    return [len(one._held) for one in connections(gate)]


def unsent(gate: Serving) -> int:
    return sum(one.transport.get_write_buffer_size() for one in connections(gate))


@contextmanager
def uncollected() -> Iterator[None]:
    """Disable the garbage collector, so that objects are freed by reference count only."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def flood(wire: Wire, piece: bytes) -> None:
    """Send requests without a pause, as fast as the server reads them."""
    while True:
        await wire.send(piece)
        await asyncio.sleep(0)


@pytest.mark.parametrize(("method", "path"), [("POST", READ), ("POST", f"{READ}?"), ("GET", "/objects/Counter/c1")])
async def test_a_client_that_pipelines_without_a_pause_fills_at_most_two_read_buffers(
    certificates: Rotating[ssl.SSLContext] | None, method: str, path: str
) -> None:
    most = 0
    async with serving(certificates=certificates) as gate, AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(dialled(gate)) for _ in range(3)]
        floods = [asyncio.create_task(flood(wire, request(method, path) * 1_000)) for wire in wires]
        for _ in range(300):
            for wire in wires:
                assert (await wire.answer()).status in (200, 404)
                most = max(most, *held(gate))
                assert sum(held(gate)) == gate.app.objects.received.used
        for task in floods:
            task.cancel()
    assert 0 < most <= HELD_BYTES_MAX


async def test_all_pipelined_requests_share_a_limit() -> None:
    async with serving(GateOptions(bodies_bytes_max=MIB)) as gate, AsyncExitStack() as stack:
        gate.link.held = True
        wires = [await stack.enter_async_context(dialled(gate)) for _ in range(24)]
        floods = [asyncio.create_task(flood(wire, request("POST", READ) * 1_000)) for wire in wires]
        await until(lambda: any(one._refusal is not None for one in connections(gate)))
        assert gate.app.objects.received.used <= MIB
        gate.link.release()
        refused = [one for one in connections(gate) if one._refusal is not None]
        await until(lambda: all(one._refused_since is not None for one in refused))
        for task in floods:
            task.cancel()
    await until(lambda: gate.app.objects.received.used == 0)


@pytest.mark.parametrize("path", [READ, f"{READ}?", "/healthz"])
async def test_received_bytes_are_freed_with_their_connection(
    certificates: Rotating[ssl.SSLContext] | None, path: str
) -> None:
    async with serving(certificates=certificates) as gate:
        with uncollected():
            async with dialled(gate) as wire:
                gate.link.held = True
                sending = asyncio.create_task(flood(wire, request("POST", path) * 1_000))
                await until(lambda: any(held(gate)))
                sending.cancel()
                gone = [weakref.ref(one) for one in connections(gate)]
            gate.link.release()
            await until(lambda: not gate.server._uvicorn.server_state.connections)
            gate.link.waiters.clear()  # which the link of these tests keeps
            await until(lambda: all(one() is None for one in gone))
        assert gate.app.objects.received.used == 0


async def test_a_refused_connection_is_freed_too(gate: Serving) -> None:
    with uncollected():
        async with dialled(gate) as wire:
            await wire.send(request("GET", "/healthz", headers={"Upgrade": "x", "Connection": "Upgrade"}, body=b"{}"))
            assert (await wire.answer()).status == 400
            gone = [weakref.ref(one) for one in connections(gate)]
        await until(lambda: all(one() is None for one in gone))


def large(_: Request) -> Reply:
    return Reply(b'"' + b"x" * (4 * MIB) + b'"', 1, 1)


@pytest.mark.parametrize("path", [READ, f"{READ}?"])
async def test_unread_responses_share_a_limit(
    certificates: Rotating[ssl.SSLContext] | None, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    bound = 16 * MIB
    async with (
        serving(GateOptions(answers_bytes_max=bound), certificates=certificates) as gate,
        AsyncExitStack() as stack,
    ):
        gate.link.replies = large
        most = 0
        for asked in range(1, 21):
            wire = await stack.enter_async_context(dialled(gate, small=True))
            await wire.send(request("POST", path, b"{}"))
            await until(lambda asked=asked: len(gate.link.requests) == asked)
            await until(lambda: gate.app.objects.inflight == 0 or unsent(gate) > 0)
            most = max(most, unsent(gate))
        await until(lambda: unsent(gate) <= bound)
        assert gate.server._unsent.cuts > 0
        async with dialled(gate) as wire:  # one that reads is served
            await wire.send(request("POST", path, b"{}"))
            assert len((await wire.answer()).body) == 4 * MIB + 2
    assert 4 * MIB < most <= bound + 5 * MIB
    assert "connections cut: clients do not read their answers" in caplog.text


@pytest.mark.parametrize("path", [READ, f"{READ}?"])
async def test_no_request_starts_for_a_client_that_does_not_read(
    certificates: Rotating[ssl.SSLContext] | None, path: str
) -> None:
    async with serving(certificates=certificates) as gate, dialled(gate, small=True) as wire:
        gate.link.replies = large
        await wire.send(request("POST", path, b"{}") * 5)
        await until(lambda: any(one.flow.write_paused for one in connections(gate)))
        await until(lambda: gate.app.objects.inflight == 0)
        assert len(gate.link.requests) == 1
        wire._reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(5):
            assert len((await wire.answer()).body) == 4 * MIB + 2
        assert len(gate.link.requests) == 5
        await until(lambda: gate.server._unsent.total == 0)


async def test_a_client_that_does_not_read_over_tls_is_disconnected(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    volume = Volume(tmp_path / "gate").fill(authority.issue("gate", "localhost", "127.0.0.1"))
    files = GateSettings(tls_cert=volume.cert, tls_key=volume.key).tls_files()
    assert files is not None
    options = GateOptions(write_stall_timeout_s=0.1)
    async with (
        serving(options, certificates=Rotating(files, server_context)) as gate,
        dialled(gate, small=True) as wire,
    ):
        gate.link.replies = large
        await wire.send(request("POST", READ, b"{}"))
        await until(lambda: unsent(gate) > 0)
        await until(lambda: not connections(gate))
        assert gate.server._unsent.total == 0


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_count_until_their_requests_are_answered(*, chunked: bool) -> None:
    body = b'{"by":1}'.ljust(MIB - KIB)
    whole = request("POST", INCREMENT, body)
    if chunked:
        head = request("POST", INCREMENT, headers={"Transfer-Encoding": "chunked"})
        whole = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    async with serving(GateOptions(bodies_bytes_max=2 * MIB)) as gate, AsyncExitStack() as stack:
        gate.link.held = True
        wires = [await stack.enter_async_context(dialled(gate)) for _ in range(3)]
        for count, wire in enumerate(wires[:2], 1):
            await wire.send(whole)
            await until(lambda count=count: len(gate.link.requests) == count)
        await wires[2].send(whole)
        answer = await wires[2].answer()
        assert (answer.status, answer.code) == (429, "overloaded")
        gate.link.release()
        assert [(await wire.answer()).body for wire in wires[:2]] == [b"1", b"2"]
        await until(lambda: gate.app.objects.received.used == 0)
