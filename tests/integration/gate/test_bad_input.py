"""Requests that are too large, too slow, malformed or too many get typed errors, within the memory limits."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import pytest

from goverse.limits import HEADERS_BYTES_MAX, KIB, MIB
from goverse_gate.options import GateOptions
from goverse_gate.protocol import DISCARDED_BYTES_MAX, REFUSED_CONNECTIONS_MAX, BoundedProtocol
from tests.gate.serving import Serving, serving
from tests.gate.wire import connected, request, until

T = TypeVar("T")

pytestmark = pytest.mark.requirement("GATE-9")

INCREMENT = "/objects/Counter/c1/call/increment"
CHUNKED = {"Transfer-Encoding": "chunked"}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


# --- size -------------------------------------------------------------------------------------------------------------


async def test_a_body_with_a_too_large_content_length_is_refused_before_it_arrives(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers={"Content-Length": str(10**15)}))
        answer = await wire.answer()
    assert (answer.status, answer.code) == (413, "too_large")
    assert gate.link.requests == []


async def test_a_body_that_turns_out_too_large_is_refused_and_the_connection_lives_on(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers=CHUNKED))
        for _ in range(20):
            await wire.send(chunk(b" " * 64 * KIB))
        assert (await wire.answer()).code == "too_large"
        await wire.send(b"0\r\n\r\n" + request("POST", INCREMENT, b"{}"))
        assert (await wire.answer()).body == b"1"


async def test_a_client_that_does_not_stop_sending_is_cut_off(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers={"Content-Length": str(10**12)}))
        assert (await wire.answer()).code == "too_large"
        for _ in range(2 * DISCARDED_BYTES_MAX // MIB):
            await wire.send(b" " * MIB)
        assert await wire.is_closed()


async def test_a_too_large_body_gets_no_100_continue(gate: Serving) -> None:
    headers = {"Expect": "100-continue", "Content-Length": str(2 * MIB)}
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers=headers))
        answer = await wire.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (413, "too_large", "close")
        assert await wire.is_closed()
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers={"Expect": "100-continue", "Content-Length": "2"}))
        assert (await wire.answer()).status == 100
        await wire.send(b"{}")
        answer = await wire.answer()
        assert (answer.body, "connection" in answer.headers) == (b"1", False)


@pytest.mark.parametrize("size", [HEADERS_BYTES_MAX + 8 * KIB, 4 * MIB])
@pytest.mark.parametrize("many", [True, False])
async def test_headers_have_a_size_limit(gate: Serving, size: int, many: bool) -> None:
    headers = {f"X-{n}": "v" * 100 for n in range(size // 100)} if many else {"X": "v" * size}
    async with connected(gate.server.url) as wire:
        await wire.send(request("GET", "/objects/Counter/c1", headers=headers))
        answer = await wire.answer()
        assert (answer.status, answer.code) == (413, "too_large")
        assert await wire.is_closed()


async def test_a_url_has_a_size_limit(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("GET", "/objects/Counter/" + "x" * MIB))
        assert (await wire.answer()).code == "too_large"


async def test_trailers_have_a_size_limit(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers=CHUNKED) + chunk(b"{}") + b"0\r\n")
        await wire.send(b"".join(b"X-%d: %s\r\n" % (n, b"v" * 100) for n in range(20_000)))
        assert (await wire.answer()).code == "too_large"
        assert await wire.is_closed()


async def test_large_headers_within_the_limit_and_trailers_are_accepted(gate: Serving) -> None:
    headers = CHUNKED | {"X": "v" * (HEADERS_BYTES_MAX - 4 * KIB)}
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers=headers) + chunk(b"{}") + b"0\r\nX-Trailer: 1\r\n\r\n")
        assert (await wire.answer()).body == b"1"


async def test_the_longest_id_fits_into_a_url(gate: Serving) -> None:
    assert (await gate.client.post(f"/objects/Counter/{'x' * 512}/call/increment")).status_code == 200
    assert (await gate.client.post(f"/objects/Counter/{'x' * 513}/call/increment")).json()[
        "code"
    ] == "malformed_request"


async def test_bodies_of_slow_senders_share_a_budget() -> None:
    async with serving(GateOptions(bodies_bytes_max=2 * MIB)) as gate, AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(connected(gate.server.url)) for _ in range(4)]
        for wire in wires:
            await wire.send(request("POST", INCREMENT, headers={"Content-Length": str(MIB)}) + b" " * (MIB - 1))
        answer = await asyncio.wait_for(_first([wire.answer() for wire in wires]), 20)
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "overloaded", "1")
        for wire in wires:
            wire.close()
        await until(lambda: gate.app.objects.inflight == 0)
        assert gate.app.objects.received.used == 0


async def _first(answers: list[Coroutine[Any, Any, T]]) -> T:
    tasks = [asyncio.ensure_future(answer) for answer in answers]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return done.pop().result()


# --- form -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", [b"{", b"nonsense", b"\xff", b'{"by": "\xed\xa0\x80"}', b"[" * 100_000, b'{"a":' * 50_000, b"{}{}", b"\x00"]
)
async def test_invalid_json_is_refused(gate: Serving, body: bytes) -> None:
    answer = await gate.client.post(INCREMENT, content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    "body",
    [b"[]", b"[null]", b"nul", b"null null", b"3", b'"x"', b'{"by": {"by": 1}}', b'{"other": 1}', b'{"by": 1e400}'],
)
async def test_a_body_that_does_not_match_the_arguments_is_refused(gate: Serving, body: bytes) -> None:
    answer = await gate.client.post(INCREMENT, content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("malformed_request", "invalid_arguments")


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /objects/Counter/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"POST /objects/Counter/c1/call/increment HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_malformed_http_gets_a_problem_and_closes_the_connection(gate: Serving, data: bytes) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(data)
        answer = await wire.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (400, "malformed_request", "close")
        assert answer.headers["goverse-request-id"] == json.loads(answer.body)["request_id"] != ""
        assert await wire.is_closed()


async def test_a_broken_chunk_is_immediately_a_malformed_request(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers=CHUNKED) + chunk(b"{"))
        await until(lambda: gate.app.objects.inflight == 1)
        await wire.send(b"zz\r\n")
        assert (await wire.answer()).code == "malformed_request"
        assert await wire.is_closed()
    await until(lambda: gate.app.objects.inflight == 0)
    assert gate.link.requests == []


async def test_a_body_that_ends_early_runs_nothing(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers={"Content-Length": "100"}) + b'{"by": 1}')
        await until(lambda: gate.app.objects.inflight == 1)
    await until(lambda: gate.app.objects.inflight == 0)
    assert gate.link.requests == []


@pytest.mark.parametrize("offer", ["websocket", "h2c"])
async def test_a_protocol_upgrade_is_declined(gate: Serving, offer: str) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": offer}
    async with connected(gate.server.url) as wire:
        await wire.send(request("GET", "/healthz", headers=headers))
        assert (await wire.answer()).status == 200
        assert await wire.is_closed()
    async with connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, b'{"by": 5}', headers=headers))
        assert (await wire.answer()).code == "malformed_request"
    assert gate.link.requests == []


async def test_http_1_0_is_served(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(b"POST " + INCREMENT.encode() + b" HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        assert (await wire.answer()).body == b"1"
        assert await wire.is_closed()
    async with connected(gate.server.url) as wire:
        await wire.send(
            b"POST " + INCREMENT.encode() + b" HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
        )
        answer = await wire.answer()
        assert (answer.body, answer.headers["connection"]) == (b"2", "close")
        assert await wire.is_closed()


# --- time -------------------------------------------------------------------------------------------------------------


async def test_a_missing_body_times_out_and_closes_the_connection() -> None:
    async with serving(GateOptions(body_read_timeout_s=0.2)) as gate:
        for sent in (b"", b'{"by":'):
            async with connected(gate.server.url) as wire:
                await wire.send(request("POST", INCREMENT, headers={"Content-Length": "9"}) + sent)
                answer = await wire.answer()
                assert (answer.status, answer.code, answer.headers["connection"]) == (400, "malformed_request", "close")
                assert await wire.is_closed()
        assert gate.link.requests == []


async def test_a_slow_body_does_not_extend_its_timeout() -> None:
    async with serving(GateOptions(body_read_timeout_s=0.3)) as gate, connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, headers={"Content-Length": "100000"}))
        answer = asyncio.create_task(wire.answer())
        while not answer.done():
            await wire.send(b" ")
            await asyncio.wait((answer,), timeout=0.01)
        assert answer.result().code == "malformed_request"


@pytest.mark.parametrize("sent", [b"", b"GET /objects/Counter/c1 HTTP/1.1\r\nHost: loc"])
async def test_missing_headers_close_the_connection(sent: bytes) -> None:
    async with serving(GateOptions(head_read_timeout_s=0.2)) as gate, connected(gate.server.url) as wire:
        await wire.send(sent)
        if sent:
            assert (await wire.answer()).code == "malformed_request"
        assert await wire.is_closed()


async def test_an_idle_connection_is_closed_after_its_timeout() -> None:
    async with serving(GateOptions(keep_alive_timeout_s=1)) as gate, connected(gate.server.url) as wire:
        await wire.send(request("POST", INCREMENT, b"{}"))
        assert (await wire.answer()).body == b"1"
        assert await wire.is_closed()


def _connections(gate: Serving) -> list[BoundedProtocol]:
    served = gate.server._uvicorn.server_state.connections
    return [connection for connection in served if isinstance(connection, BoundedProtocol)]


async def test_a_client_that_does_not_read_its_response_is_disconnected() -> None:
    async with serving(GateOptions(write_stall_timeout_s=0.2)) as gate:
        await gate.client.put("/objects/Room/r", json={"topic": "x"})
        key = gate.link.requests[0].key
        gate.link.states[key] = b'{"topic": "' + b"x" * 32 * MIB + b'", "messages": []}'
        connections = gate.server._uvicorn.server_state.connections
        async with connected(gate.server.url) as wire:
            before = len(connections)
            await wire.send(request("GET", "/objects/Room/r"))
            await until(lambda: any(connection._stalled for connection in _connections(gate)))
            await until(lambda: len(connections) < before)


# --- number -----------------------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        count = 3_000
        await wire.send(
            request("POST", INCREMENT, b'{"by":1}') * count + request("GET", "/healthz") + b"garbage\r\n\r\n"
        )
        bodies = [(await wire.answer()).body for _ in range(count)]
        assert bodies == [b"%d" % number for number in range(1, count + 1)]
        assert (await wire.answer()).status == 200


async def test_pipelined_requests_behind_a_slow_one_wait_unparsed(gate: Serving) -> None:
    gate.link.held = True
    async with connected(gate.server.url) as wire:
        sender = asyncio.create_task(wire.send(request("POST", INCREMENT, b"{}") * 200_000))
        (connection,) = _connections(gate)
        await until(lambda: connection._held and connection.pipeline)
        assert len(connection.pipeline) < 200
        assert len(connection._held) < 2 * MIB
        assert len(gate.link.requests) == 1
        sender.cancel()


async def test_thousands_of_idle_connections_leave_room_for_others(gate: Serving) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    try:
        async with AsyncExitStack() as stack:
            for _ in range(3_000):
                await stack.enter_async_context(connected(gate.server.url))
            await until(lambda: len(gate.server._uvicorn.server_state.connections) >= 3_000)
            assert (await gate.client.post(INCREMENT)).text == "1"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_connection_above_the_limit_gets_overloaded() -> None:
    async with serving(GateOptions(connections_max=2)) as gate, AsyncExitStack() as stack:
        for _ in range(2):
            wire = await stack.enter_async_context(connected(gate.server.url))
            await wire.send(request("GET", "/healthz"))
            assert (await wire.answer()).status == 200
        third = await stack.enter_async_context(connected(gate.server.url))
        answer = await third.answer()
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "overloaded", "1")
        assert await third.is_closed()


async def test_refused_connections_are_limited_too() -> None:
    async with serving(GateOptions(connections_max=2)) as gate, AsyncExitStack() as stack:
        most = 2 + REFUSED_CONNECTIONS_MAX
        wires = [await stack.enter_async_context(connected(gate.server.url)) for _ in range(most + 50)]
        assert await wires[-1].is_closed()
        await until(lambda: len(gate.server._uvicorn.server_state.connections) <= most)
