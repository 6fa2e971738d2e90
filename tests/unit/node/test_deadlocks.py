"""Call chains that wait for each other fail with ``deadlock`` instead of waiting for their deadlines."""

import asyncio

import pytest

from goverse import Object, call
from tests.nodes import bench, code, value

pytestmark = pytest.mark.requirement("OBJ-2", "OBJ-8")


class Ring(Object):
    """Changes its state after a call to a neighbour."""

    value: int = 0

    @call
    async def ask(self, neighbour: str) -> int:
        await self.ref(Ring, neighbour).add()
        self.value += 1
        return self.value

    @call
    async def add(self) -> int:
        self.value += 1
        return self.value


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "d"]])
async def test_chains_in_a_ring_fail_with_deadlock_and_do_not_hang(names: list[str]) -> None:
    async with bench(Ring) as here:
        calls = [
            here.call(Ring, name, "ask", {"neighbour": names[(index + 1) % len(names)]})
            for index, name in enumerate(names)
        ]
        replies = await asyncio.gather(*calls)
        refused = [reply for reply in replies if reply.problem is not None]
        assert {code(reply) for reply in refused} == {"deadlock"}
        done = len(names) - len(refused)
        total = sum([value(await here.call(Ring, name, "add")) for name in names])
        assert total == len(names) + 2 * done  # each successful call counts twice, a refused one not
