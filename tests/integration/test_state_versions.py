"""State versions across restarts with the embedded store: state migrates forward and never back."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from goverse import Object, call, migration
from goverse.model.frames import Operation, Reply, Request
from goverse.objects.registry import Registry
from goverse_node.node import Node
from goverse_node.stores.wal.store import WalStore
from tests.nodes import PATIENCE_S, code, key_of, value

pytestmark = pytest.mark.requirement("OBJ-11")


class PricedInEuros(Object, name="Price"):
    euros: float = 0.0

    @call
    async def add(self, euros: float) -> float:
        self.euros += euros
        return self.euros


class PricedInCents(Object, name="Price", state_version=2):
    cents: int = 0

    @migration(from_version=1)
    @staticmethod
    def _cents(state: dict[str, Any]) -> dict[str, Any]:
        return {"cents": round(state["euros"] * 100)}

    @call
    async def add(self, cents: int) -> int:
        self.cents += cents
        return self.cents


class Release:
    """A release of an application: a node with its class, over a data directory that all releases share."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def add(self, object_id: str, **arguments: Any) -> Reply:
        return await self._ask(Operation.CALL, object_id, "add", orjson.dumps(arguments))

    async def read(self, object_id: str) -> Reply:
        return await self._ask(Operation.READ, object_id)

    async def _ask(self, operation: Operation, object_id: str, method: str = "", body: bytes = b"") -> Reply:
        deadline = self.node.now() + PATIENCE_S
        return await self.node.submit(Request(operation, key_of("Price", object_id), method, body, deadline, "r"))


@asynccontextmanager
async def released(user_class: type[Object], data_dir: Path) -> AsyncGenerator[Release]:
    store = WalStore(data_dir)
    await store.open()
    node = Node(Registry([user_class]), store)
    await node.start()
    try:
        yield Release(node)
    finally:
        await node.stop(PATIENCE_S)
        await store.close()


async def test_a_newer_class_takes_over_what_an_older_one_wrote(tmp_path: Path) -> None:
    async with released(PricedInEuros, tmp_path) as old:
        for name in ("read", "called", "both"):
            assert value(await old.add(name, euros=1.25)) == 1.25

    async with released(PricedInCents, tmp_path) as new:
        assert value(await new.read("read")) == {"cents": 125}
        assert value(await new.add("called", cents=5)) == 130
        assert value(await new.read("both")) == {"cents": 125}
        assert value(await new.add("both", cents=1)) == 126
        assert (await new.read("both")).version == 2

    async with released(PricedInCents, tmp_path) as again:
        assert value(await again.read("called")) == {"cents": 130}
        assert value(await again.read("read")) == {"cents": 125}


async def test_an_older_class_refuses_what_a_newer_one_wrote_and_leaves_it_alone(tmp_path: Path) -> None:
    async with released(PricedInEuros, tmp_path) as old:
        value(await old.add("untouched", euros=2.5))
    async with released(PricedInCents, tmp_path) as new:
        value(await new.add("newer", cents=5))

    async with released(PricedInEuros, tmp_path) as back:
        assert code(await back.add("newer", euros=1.0)) == "data_newer"
        assert code(await back.read("newer")) == "data_newer"
        assert value(await back.add("untouched", euros=1.0)) == 3.5, "what the newer class did not write is served"

    async with released(PricedInCents, tmp_path) as new:
        assert value(await new.read("newer")) == {"cents": 5}


class PricedInWords(Object, name="Price", state_version=2):
    cents: int = 0

    @migration(from_version=1)
    @staticmethod
    def _cents(state: dict[str, Any]) -> dict[str, Any]:
        return {"cents": f"{state['euros']} euros"}


async def test_a_migration_that_returns_what_does_not_fit_is_named(tmp_path: Path) -> None:
    async with released(PricedInEuros, tmp_path) as old:
        await old.add("p", euros=1.25)

    async with released(PricedInWords, tmp_path) as new:
        reply = await new.read("p")
        assert reply.problem is not None
        assert reply.problem.code == "state_invalid"
        assert (
            "the result of the migration from state version 1 does not fit class Price: "
            "/cents: Input should be a valid integer, unable to parse string as an integer"
        ) in reply.problem.detail
