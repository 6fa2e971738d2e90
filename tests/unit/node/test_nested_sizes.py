"""The size limit of nested calls is the same within a node as between nodes."""

from __future__ import annotations

import pytest

from goverse import Object, call
from goverse.limits import STATE_BYTES_MAX
from tests.nodes import bench, code, problem, value

pytestmark = pytest.mark.requirement("OBJ-9")

LARGEST = STATE_BYTES_MAX - len('{"data":""}')


class Parcel(Object):
    size: int = 0

    def on_create(self, data: str = "") -> None:
        self.size = len(data)

    @call
    async def take(self, data: str) -> int:
        self.size = len(data)
        return self.size

    @call
    async def post(self, size: int) -> int:
        return await self.ref(Parcel, "to").take(data="x" * size)

    @call
    async def found(self, size: int) -> str:
        return (await self.create(Parcel, "made", data="x" * size)).id


@pytest.mark.parametrize("method", ["post", "found"])
async def test_arguments_that_another_node_would_refuse_are_refused_within_one(method: str) -> None:
    async with bench(Parcel) as b:
        refused = await b.call(Parcel, "from", method, {"size": LARGEST + 1})

        assert code(refused) == "too_large"
        assert (
            f"arguments of Parcel{'.take' if method == 'post' else ''} have {STATE_BYTES_MAX + 1} bytes"
            in problem(refused).detail
        )
        assert not b.resident(Parcel, "to")
        assert not b.resident(Parcel, "made")


async def test_the_largest_arguments_pass() -> None:
    async with bench(Parcel) as b:
        assert value(await b.call(Parcel, "from", "post", {"size": LARGEST})) == LARGEST
        assert value(await b.call(Parcel, "from", "found", {"size": LARGEST})) == "made"
