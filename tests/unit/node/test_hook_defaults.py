"""Defaults of ``on_create``: the same for an object that a call creates as for one that PUT creates."""

import pytest
from pydantic import Field

from goverse import Object, call
from goverse.model.frames import Operation
from goverse.model.keys import ObjectKey
from tests.nodes import PATIENCE_S, Bench, bench, key_of, problem, value


class Cart(Object, create="anyone", delete="anyone"):
    items: list[str] = []
    seats: int = 0

    def on_create(self, items: list[str] = [], seats: int = Field(default=5)) -> None:  # noqa: B006  # copied per call
        self.items, self.seats = items, seats

    @call
    def add(self, item: str) -> list[str]:
        self.items.append(item)
        return self.items

    @call(readonly=True)
    def count(self) -> int:
        return self.seats


async def _add(b: Bench, key: ObjectKey, item: str) -> list[str]:
    body = b'{"item":"%s"}' % item.encode()
    reply = await b.submit(Operation.CALL, key, "add", body, timeout_s=PATIENCE_S)
    found: list[str] = value(reply)
    return found


@pytest.mark.requirement("OBJ-3", "OBJ-4")
async def test_objects_that_calls_create_share_no_mutable_default() -> None:
    elsewhere = ObjectKey("tenant-2", "Cart", "ann")
    async with bench(Cart) as b:
        assert await _add(b, key_of(Cart, "ann"), "tea") == ["tea"]
        assert await _add(b, key_of(Cart, "bob"), "rice") == ["rice"]
        assert await _add(b, elsewhere, "oil") == ["oil"]
        assert await _add(b, key_of(Cart, "ann"), "salt") == ["tea", "salt"]
        await b.delete(Cart, "ann")
        assert await _add(b, key_of(Cart, "ann"), "milk") == ["milk"]


@pytest.mark.requirement("OBJ-3")
async def test_a_call_and_a_put_create_with_the_same_defaults() -> None:
    async with bench(Cart) as b:
        await b.create(Cart, "put")
        assert value(await b.call(Cart, "put", "count")) == 5
        assert value(await b.call(Cart, "called", "count")) == 5
        assert value(await b.call(Cart, "called", "add", {"item": "tea"})) == ["tea"]


@pytest.mark.requirement("OBJ-3")
async def test_a_default_that_cannot_be_made_refuses_the_call_that_creates() -> None:
    found: list[int] = []

    class Numbered(Object):
        number: int = 0

        def on_create(self, number: int = Field(default_factory=lambda: found[0])) -> None:
            self.number = number

        @call
        def get(self) -> int:
            return self.number

    async with bench(Numbered) as b:
        assert problem(await b.call(Numbered, "n", "get")).code == "method_failed"
        found.append(7)
        assert value(await b.call(Numbered, "n", "get")) == 7
