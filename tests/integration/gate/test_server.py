"""Start and stop: readiness goes off first, and requests in progress finish within the drain timeout."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from goverse.errors import ConfigError
from goverse_cli.listener import open_listener
from goverse_gate.options import GateOptions
from tests.gate.serving import Serving, serving
from tests.gate.wire import connected, request, until

INCREMENT = "/objects/Counter/c1/call/increment"


async def test_readiness_is_computed_for_each_request(gate: Serving) -> None:
    ready = await gate.client.get("/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": [], "commit_seq": "0"})
    gate.link.reasons = ("the store recovers",)
    not_ready = await gate.client.get("/readyz")
    assert (not_ready.status_code, not_ready.json()["reasons"]) == (503, ["the store recovers"])
    assert (await gate.client.get("/healthz")).json() == (await gate.client.get("/livez")).json() == {"status": "ok"}
    gate.link.partly_ready = True
    partly = await gate.client.get("/readyz")
    assert (partly.status_code, partly.json()["ready"]) == (200, True)
    assert partly.json()["reasons"] == ["the store recovers"]
    gate.link.reasons = ()
    assert (await gate.client.get("/ready")).status_code == 200


async def test_draining_turns_readiness_off_and_closes_connections_after_their_responses(gate: Serving) -> None:
    await gate.server.drain()
    ready = await gate.client.get("/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["the gate is shutting down"])
    answer = await gate.client.post(INCREMENT)
    assert (answer.text, answer.headers["connection"]) == ("1", "close")


async def test_a_running_call_finishes_before_the_server_stops(gate: Serving) -> None:
    gate.link.held = True
    call = asyncio.create_task(gate.client.post(INCREMENT))
    await until(lambda: gate.link.requests)
    stop = asyncio.create_task(gate.server.stop())
    await until(lambda: not gate.server._uvicorn.servers[0].is_serving())
    with pytest.raises(httpx.ConnectError):
        await httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=False)).get(gate.server.url)
    gate.link.release()
    assert (await call).text == "1"
    await stop


async def test_a_call_that_does_not_finish_is_answered_with_draining() -> None:
    async with serving(GateOptions(drain_timeout_s=1)) as gate:
        gate.link.held = True
        call = asyncio.create_task(gate.client.post(INCREMENT))
        await until(lambda: gate.link.requests)
        await gate.server.stop()
        answer = await call
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "draining", "1")
    assert gate.link.waiters[0].done()


async def test_an_abort_does_not_wait(gate: Serving) -> None:
    gate.link.held = True
    call = asyncio.create_task(gate.client.post(INCREMENT))
    await until(lambda: gate.link.requests)
    await gate.server.abort()
    assert (await call).json()["code"] == "draining"


async def test_idle_connections_are_closed_when_the_server_stops(gate: Serving) -> None:
    async with connected(gate.server.url) as wire:
        await wire.send(request("GET", "/healthz"))
        assert (await wire.answer()).status == 200
        stop = asyncio.create_task(gate.server.stop())
        assert await wire.is_closed()
        await stop


def test_an_address_in_use_has_a_clear_error() -> None:
    with open_listener("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}"):
            open_listener("127.0.0.1", port)


async def test_the_server_reports_its_url(gate: Serving) -> None:
    assert gate.server.url.startswith("http://127.0.0.1:")
