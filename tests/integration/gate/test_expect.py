"""``Expect: 100-continue``: a final response without 100 closes the connection, because the body may still arrive."""

from __future__ import annotations

import pytest

from goverse_gate.options import GateOptions
from tests.gate.serving import Serving, serving
from tests.gate.wire import connected, request

INCREMENT = "/objects/Counter/c1/call/increment"
STATE = "/objects/Counter/c1"
EVIL = {"Origin": "http://evil.example"}

pytestmark = [pytest.mark.requirement("GATE-9"), pytest.mark.asyncio]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", INCREMENT, EVIL, 403),
        ("POST", INCREMENT, {"Idempotency-Key": "a", "idempotency-key": "b"}, 400),
        ("POST", INCREMENT, {"Content-Length": "99999999"}, 413),
        ("POST", "/objects/Counter/c1/call/none", {}, 404),
        ("POST", "/objects/None/c1/call/none", {}, 404),
        ("PATCH", STATE, {}, 405),
        ("PUT", STATE, EVIL, 403),
        ("DELETE", STATE, {}, 404),
        ("GET", STATE, {}, 404),
        ("GET", "/objects/Counter", {}, 200),
        ("HEAD", "/objects/Counter", {}, 200),
        ("OPTIONS", STATE, {}, 204),
        ("GET", "/healthz", {}, 200),
        ("HEAD", "/healthz", {}, 200),
        ("GET", "/docs", {}, 200),
        ("GET", "/metrics", {}, 200),
        ("GET", "/", {}, 307),
        ("GET", "/none", {}, 404),
        ("OPTIONS", "/healthz", {}, 204),
        ("OPTIONS", "/healthz", EVIL, 403),
        ("PUT", "/admin/log-level", {"Content-Length": "99999999"}, 413),
        ("PUT", "/admin/log-level", EVIL, 403),
    ],
)
@pytest.mark.parametrize("expect", ["100-continue", "something-else"])
async def test_a_final_response_before_the_body_closes_the_connection(
    gate: Serving, method: str, path: str, headers: dict[str, str], status: int, *, expect: str
) -> None:
    smuggled = request("POST", INCREMENT, b"{}")
    headers = {"Expect": expect, "Content-Length": str(len(smuggled))} | headers
    async with connected(gate.server.url) as wire:
        await wire.send(request(method, path, headers=headers))
        answer = await (wire.head_answer() if method == "HEAD" else wire.answer())
        assert (answer.status, answer.headers.get("connection")) == (status, "close")
        await wire.send(smuggled)
        assert await wire.is_closed()
    assert gate.link.commit_seq == 0


async def test_a_preflight_with_an_expectation_ends_its_connection_too() -> None:
    async with serving(GateOptions(allowed_origins=("https://shop.example",))) as gate:
        asked = {
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "POST",
            "Expect": "100-continue",
            "Content-Length": "5",
        }
        for path in (INCREMENT, "/healthz"):
            async with connected(gate.server.url) as wire:
                await wire.send(request("OPTIONS", path, headers=asked))
                answer = await wire.answer()
                assert (answer.status, answer.headers.get("connection")) == (204, "close")
                assert await wire.is_closed()


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_requested_body_leaves_the_connection_open(gate: Serving, method: str) -> None:
    path = INCREMENT if method == "POST" else STATE
    async with connected(gate.server.url) as wire:
        for _ in range(2):
            await wire.send(request(method, path, headers={"Expect": "100-continue", "Content-Length": "2"}))
            assert (await wire.answer()).status == 100
            await wire.send(b"{}")
            answer = await wire.answer()
            assert answer.status in (200, 201)
            assert "connection" not in answer.headers


async def test_http_1_0_gets_no_interim_response(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(f"POST {INCREMENT} HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, b"1")
