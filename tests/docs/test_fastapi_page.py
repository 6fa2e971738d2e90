"""The page on FastAPI works: its commands as written, and its web application with a gate and the page's objects."""

import importlib.util
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest

import goverse_client
from benchmarks.ports import free_port
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse_cli.listener import open_listener
from goverse_gate.app import create_app
from goverse_gate.options import GateOptions
from goverse_gate.server import GateServer
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from tests.docs.test_guides import BLOCK
from tests.docs.walkthrough import walk_through
from tests.tree import ROOT

PAGE = ROOT / "docs" / "guide" / "fastapi.md"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """All Python code of the page, imported as one module."""
    file = tmp_path / "shop_web.py"
    file.write_text("\n\n".join(BLOCK.findall(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("shop_web", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop_web", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def browser(page: ModuleType, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the web application, which calls a gate that serves the objects."""
    store, options = MemoryStore(), GateOptions()
    await store.open()
    node = Node(Registry([page.Order]), store)
    await node.start()
    listener = open_listener("127.0.0.1", 0)
    server = GateServer(create_app(node, describe(node.registry), options), options, sockets=[listener])
    await server.start()
    monkeypatch.setattr(page, "GATE", f"http://127.0.0.1:{listener.getsockname()[1]}")
    transport = httpx.ASGITransport(page.web)
    async with (
        page.web.router.lifespan_context(page.web),
        httpx.AsyncClient(transport=transport, base_url="https://shop.example") as client,
    ):
        yield client
    await server.stop()
    await node.stop(1)


@pytest.mark.requirement("DOC-2")
async def test_a_logged_in_user_orders_in_their_own_name(browser: httpx.AsyncClient) -> None:
    async def log_in(user: str, password: str = "secret") -> int:
        return (await browser.post("/login", json={"user": user, "password": password})).status_code

    assert (await browser.post("/orders/o1")).status_code == 401
    assert await log_in("ann", "wrong") == 401
    assert await log_in("ann") == 204
    assert (await browser.post("/orders/o1")).status_code == 204
    browser.cookies.clear()
    assert await log_in("ben") == 204

    refused = await browser.post("/orders/o1")

    assert (refused.status_code, refused.json()["detail"]) == (403, "The order belongs to another customer.")
    browser.cookies.clear()
    browser.cookies.set("session", "ann.forged")
    assert (await browser.post("/orders/o1")).status_code == 401


@pytest.mark.requirement("DOC-2")
async def test_a_webhook_that_is_sent_again_counts_once(browser: httpx.AsyncClient, page: ModuleType) -> None:
    async def deliver(event: str, signature: str | None = None) -> httpx.Response:
        body = json.dumps({"id": event, "order": "o1", "cents": 500}).encode()
        return await browser.post(
            "/webhooks/payment", content=body, headers={"x-signature": signature or page.signed(body)}
        )

    assert (await deliver("e1", "forged")).status_code == 401
    assert [(await deliver(event)).json() for event in ("e1", "e1", "e2", "e1")] == [500, 500, 1000, 500]


@pytest.mark.requirement("DOC-2")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"no json", 422),
        (b"[]", 422),
        (b'{"id": "e1"}', 422),
        (b'{"id": "e1", "order": "o1", "cents": "many"}', 422),
        (b'{"id": "e1", "order": "o1", "cents": -5}', 422),
        (b'{"id": "", "order": "o1", "cents": 5}', 422),
        (b'{"id": "e\\n1", "order": "o1", "cents": 5}', 422),
        (b'{"id": "e1", "order": "", "cents": 5}', 422),
        (b'{"id": "e1", "order": "watch", "cents": 5}', 400),
    ],
)
async def test_a_signed_body_that_is_not_a_payment_is_refused(
    browser: httpx.AsyncClient, page: ModuleType, body: bytes, status: int
) -> None:
    refused = await browser.post("/webhooks/payment", content=body, headers={"x-signature": page.signed(body)})

    assert refused.status_code == status
    assert refused.json()["detail"]


@pytest.mark.requirement("DOC-2")
async def test_the_provider_is_asked_to_retry_if_the_gate_does_not_respond(
    browser: httpx.AsyncClient, page: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with goverse_client.GoVerse(
        f"http://127.0.0.1:{free_port()}", options=goverse_client.Options(timeout_s=0.2)
    ) as away:
        monkeypatch.setattr(page.web.state, "objects", away)
        body = b'{"id": "e1", "order": "o1", "cents": 5}'
        answer = await browser.post("/webhooks/payment", content=body, headers={"x-signature": page.signed(body)})

    assert answer.status_code == 503


@pytest.mark.requirement("DOC-2")
def test_the_commands_of_the_page_work_as_written(tmp_path: Path) -> None:
    ports = {"8000": str(free_port()), "8080": str(free_port())}
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "LOG_FORMAT": "text"}

    def adapt(text: str) -> str:
        moved = re.sub(r"\b(8000|8080)\b", lambda found: ports[found[0]], text)
        return moved.replace("~/goverse", str(ROOT))

    walk_through(PAGE, tmp_path, env=environment, adapt=adapt)

    assert (tmp_path / "web-env" / "bin" / "uvicorn").exists()
