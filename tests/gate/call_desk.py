"""Clients of a gate that submit calls, over a double of a node and over a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from goverse_gate.app import GateApp
from goverse_gate.options import GateOptions
from tests.gate.call_link import CallLink
from tests.gate.objects import Counter, Room, Store
from tests.gate.serving import ADMIN, ADMIN_TOKEN, serving_link, serving_node

INCREMENT = "/objects/Counter/c1/call/increment"
WITHDRAW = "/objects/Counter/c1/call/withdraw"
LATER = {"Prefer": "respond-async"}
HOUR = {**LATER, "GoVerse-Delay": "3600"}


class Client:
    """Submits calls through a gate, and asks about them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Use ``client``, whose base URL is that of the gate."""
        self.client = client

    async def submit(self, headers: dict[str, str] | None = None, path: str = INCREMENT, **json: Any) -> httpx.Response:
        """Submit a call."""
        return await self.client.post(path, json=json, headers=headers or LATER)

    async def ended(self, at: str) -> dict[str, Any]:
        """Return the status of a call at its end."""
        answer = await self.client.get(f"{at}?wait=60", headers={"GoVerse-Timeout": "60"}, timeout=70)
        assert answer.status_code == 200, answer.text
        status: dict[str, Any] = answer.json()
        assert status["finished_at"] is not None, status
        return status

    async def dead(self) -> str:
        """Return the id of a new dead letter."""
        name: str = (await self.submit(path="/objects/Counter/c1/call/fail")).json()["id"]
        assert (await self.ended(f"/calls/{name}"))["state"] == "dead"
        return name

    async def value(self) -> int:
        """Return the value of the counter that the calls are sent to."""
        answer = await self.client.get("/objects/Counter/c1")
        return 0 if answer.status_code == 404 else answer.json()["value"]

    async def operate(self, method: str, path: str, **json: Any) -> Any:
        """Send a request of an operator, and return its result."""
        answer = await self.client.request(method, path, headers=ADMIN, json=json or None)
        assert answer.status_code == 200, answer.text
        return answer.json()


class Desk(Client):
    """The same over a double, which the test can look into."""

    def __init__(self, client: httpx.AsyncClient, link: CallLink, app: GateApp) -> None:
        """``link`` is behind the gate ``app``."""
        super().__init__(client)
        self.link, self.app = link, app


@asynccontextmanager
async def double_desk(**options: Any) -> AsyncIterator[Desk]:
    """Serve the test objects from a double with reliable calls."""
    link = CallLink(Counter, Room, Store)
    served = GateOptions(admin_token=ADMIN_TOKEN, **options)
    async with serving_link(link, link.registry, served) as (app, _, client):
        yield Desk(client, link, app)


@asynccontextmanager
async def node_desk() -> AsyncIterator[Client]:
    """Serve the test objects from a real node."""
    async with serving_node(GateOptions(admin_token=ADMIN_TOKEN)) as client:
        yield Client(client)
