"""A retry that reaches the node while the turn of the first attempt is about to expire never gets the old timeout."""

from __future__ import annotations

import asyncio

import pytest

from goverse import Object, call
from tests.nodes import code, value
from tests.twin_cluster import TwinCluster

OBJECTS = 40
FIRST_S = 0.1


class Slow(Object):
    total: int = 0

    @call
    async def add(self) -> int:
        self.total += 1
        await asyncio.sleep(FIRST_S * 1.5)
        return self.total

    @call
    async def relay(self) -> int:
        """Call the slow method through another object, perhaps on another node."""
        amount: int = await self.ref("Slow", f"behind {self.id}").add()
        return amount


@pytest.mark.parametrize("method", ["add", "relay"])
@pytest.mark.requirement("DUR-2", "GATE-6", "CLU-1")
async def test_a_retry_at_the_deadline_is_answered_with_the_result(method: str) -> None:
    async def attempt(object_id: str) -> list[object]:
        """Time out at the deadline, as a gate does, and send the same request again immediately."""
        first = cluster.call(Slow, object_id, method, timeout_s=FIRST_S, key="k")
        _, late = await asyncio.wait([first], timeout=FIRST_S)
        if late:
            first.cancel()
        second = await cluster.call(Slow, object_id, method, key="k")
        third = await cluster.call(Slow, object_id, method, key="k")
        return [code(second) or value(second), code(third) or value(third)]

    async with TwinCluster(Slow, lease_ttl_s=30.0) as cluster:
        await cluster.join("a", "b")
        await cluster.served("a", "b")
        ends = await asyncio.gather(*(attempt(f"s{number}") for number in range(OBJECTS)))
        assert ends == [[1, 1]] * OBJECTS
