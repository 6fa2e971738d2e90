"""Foreign web pages are denied everything; pages of allowed origins can use the whole API."""

from __future__ import annotations

import pytest

from goverse_gate.options import GateOptions
from tests.gate.serving import Serving, serving

INCREMENT = "/objects/Counter/c1/call/increment"
SHOP = "https://shop.example"

pytestmark = pytest.mark.requirement("GATE-10")


@pytest.mark.parametrize("path", [INCREMENT, "/admin/log-level", "/objects/Counter/c1", "/metrics"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_foreign_page_is_denied_before_any_code_runs(gate: Serving, method: str, path: str) -> None:
    answer = await gate.client.request(method, path, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")
    assert "gate.allowed_origins" in answer.json()["detail"]
    assert "access-control-allow-origin" not in answer.headers
    assert gate.link.requests == []


async def test_a_foreign_form_cannot_call(gate: Serving) -> None:
    headers = {"Origin": "null", "Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "cross-site"}
    assert (await gate.client.post(INCREMENT, content="a=b", headers=headers)).status_code == 403
    assert gate.link.requests == []


async def test_the_gates_own_page_can_call(gate: Serving) -> None:
    own = gate.server.url
    assert (await gate.client.post(INCREMENT, headers={"Origin": own})).status_code == 200


@pytest.mark.parametrize("path", [INCREMENT, "/docs", "/openapi.json", "/admin/log-level", "/metrics"])
async def test_a_host_name_rebound_to_the_gate_is_denied(gate: Serving, path: str) -> None:
    answer = await gate.client.post(path, headers={"Host": "evil.example:8000", "Origin": "http://evil.example:8000"})
    assert (answer.status_code, answer.json()["code"]) == (403, "access_denied")
    assert "gate.allowed_hosts" in answer.json()["detail"]
    metrics = (await gate.client.get("/metrics")).text
    assert 'goverse_access_denied_total{reason="gate.allowed_hosts"} 1.0' in metrics


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/ready", "/readyz"])
async def test_probes_can_use_any_host(gate: Serving, path: str) -> None:
    assert (await gate.client.get(path, headers={"Host": "10.1.2.3:8000"})).status_code == 200


async def test_an_allowed_page_sends_a_preflight_and_then_calls() -> None:
    async with serving(GateOptions(allowed_origins=(SHOP,))) as gate:
        asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "if-match"}
        for path in (INCREMENT, "/ready"):
            preflight = await gate.client.options(path, headers=asked)
            assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, SHOP)
            assert "If-Match" in preflight.headers["access-control-allow-headers"]
        answer = await gate.client.post(INCREMENT, headers={"Origin": SHOP})
        assert (answer.text, answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (
            "1",
            SHOP,
            "Origin",
        )
        assert "GoVerse-Commit-Seq" in answer.headers["access-control-expose-headers"]
        problem = await gate.client.get("/objects/Counter/none", headers={"Origin": SHOP})
        assert (problem.status_code, problem.headers["access-control-allow-origin"]) == (404, SHOP)
        assert (await gate.client.post(INCREMENT)).headers["vary"] == "Origin"
        assert (await gate.client.get("/ready", headers={"Origin": SHOP})).headers[
            "access-control-allow-origin"
        ] == SHOP


async def test_a_preflight_of_another_page_is_denied(gate: Serving) -> None:
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
    assert (await gate.client.options(INCREMENT, headers=asked)).status_code == 403
