"""The OpenAPI document of a cluster's gate contains the types that the nodes serve now."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from goverse import Object, call
from goverse.cluster.keys import KeyLayout
from goverse.cluster.view import ClusterView
from goverse.errors import Executed
from goverse.model.catalog import encode_catalog
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse.ports.coordinator import KeyEntry
from goverse_cli.cluster.gate import Offered
from goverse_gate.app import create_app
from goverse_node.ownership.shutdown import Shutdown
from tests.nodes import code, problem, value
from tests.twin_cluster import TwinCluster

pytestmark = pytest.mark.requirement("GATE-1")

LAYOUT = KeyLayout("test")


class Cart(Object):
    """The articles that a customer wants to buy."""

    items: dict[str, int] = {}

    @call
    async def put(self, item: str, count: int = 1) -> int:
        """Put something in."""
        self.items[item] = count
        return len(self.items)


class Wallet(Object):
    cents: int = 0

    @call(readonly=True)
    async def balance(self) -> int:
        return self.cents


class Nodes:
    """The nodes' types in etcd, and a gate that follows them."""

    def __init__(self) -> None:
        self.view = ClusterView(LAYOUT)
        self.offered = Offered()
        self.app = self.offered.app = create_app(TwinCluster().router, {})
        self._revision = 0

    def serve(self, node: str, *classes: type[Any]) -> None:
        self._revision += 1
        value = encode_catalog(describe(Registry(classes)))
        self.view.put(KeyEntry(LAYOUT.catalog(node), value, self._revision, self._revision))
        self.offered.follow(self.view)

    def leave(self, node: str) -> None:
        self._revision += 1
        self.view.delete(LAYOUT.catalog(node), self._revision)
        self.offered.follow(self.view)

    async def document(self) -> dict[str, Any]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            found: dict[str, Any] = (await client.get("/openapi.json")).json()
            return found

    async def methods(self) -> list[str]:
        paths = (await self.document())["paths"]
        return sorted(path.removeprefix("/objects/") for path in paths if "/call/" in path)


async def test_the_document_follows_the_nodes_that_are_there() -> None:
    nodes = Nodes()
    assert await nodes.methods() == []
    nodes.serve("n1", Cart)
    assert await nodes.methods() == ["Cart/{id}/call/put"]
    nodes.serve("n2", Cart, Wallet)
    assert await nodes.methods() == ["Cart/{id}/call/put", "Wallet/{id}/call/balance"]
    nodes.leave("n2")
    assert await nodes.methods() == ["Cart/{id}/call/put"]
    nodes.leave("n1")
    assert await nodes.methods() == ["Cart/{id}/call/put"]  # no node is left; its types stay


async def test_the_document_is_as_typed_as_that_of_one_process() -> None:
    nodes = Nodes()
    nodes.serve("n1", Cart, Wallet)
    alone = create_app(TwinCluster().router, describe(Registry([Cart, Wallet])))
    assert await nodes.document() == alone.openapi()


async def test_of_two_releases_of_a_type_the_one_that_came_last_is_shown() -> None:
    class Later(Object, name="Cart"):
        items: dict[str, int] = {}

        @call
        async def put(self, item: str, count: int = 1, gift: bool = False) -> int:
            return len(self.items)

        @call
        async def clear(self) -> int:
            return 0

    nodes = Nodes()
    nodes.serve("old", Cart)
    nodes.serve("new", Later)
    assert await nodes.methods() == ["Cart/{id}/call/clear", "Cart/{id}/call/put"]
    nodes.leave("new")
    assert await nodes.methods() == ["Cart/{id}/call/put"]


async def test_a_node_of_an_older_release_does_not_make_a_new_type_look_unknown() -> None:
    async with TwinCluster(Cart) as cluster:
        await cluster.join("old")
        cluster.registry = Registry([Cart, Wallet])
        await cluster.join("new")
        await cluster.served("old", "new")
        shard = cluster.owners().index("old")
        answer = await cluster.call(Wallet, f"shard#{shard}/w", "balance")
        assert (code(answer), problem(answer).retryable) == ("unavailable", True)
        assert (problem(answer).executed, problem(answer).extra) == (Executed.NO, {"retry_after_s": 5})
        await cluster.hosts.pop("old").leave(Shutdown.GRACEFUL)
        assert value(await cluster.call(Wallet, f"shard#{shard}/w", "balance")) == 0


async def test_a_gate_without_nodes_asks_for_another_try_instead_of_denying_the_type() -> None:
    nodes = Nodes()
    transport = httpx.ASGITransport(nodes.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        early = await client.post("/objects/Cart/c1/call/put", json={"item": "book"})
        assert (early.status_code, early.json()["code"], early.json()["retryable"]) == (503, "unavailable", True)
        assert int(early.headers["retry-after"]) >= 1
        listed = await client.get("/objects/Cart")
        assert (listed.status_code, listed.json()["code"]) == (503, "unavailable")
        nodes.serve("n1", Cart)
        unknown = await client.post("/objects/Wallet/w1/call/balance")
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_type")
