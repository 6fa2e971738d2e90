"""Call chains that wait for each other are told, instead of waiting for their deadlines."""

from __future__ import annotations

import pytest

from tests.unit.node.rig import rig
from tests.unit.node.shapes import Plain

pytestmark = pytest.mark.requirement("OBJ-2", "OBJ-8")


async def test_two_chains_that_wait_for_each_other_are_told_and_do_not_hang() -> None:
    async with rig(Plain) as here:
        replies = [here.send("a", "walk", path=["b"]), here.send("b", "walk", path=["a"])]
        problems = [(await reply).problem for reply in replies]
        assert [problem.code for problem in problems if problem is not None] == ["deadlock"]


async def test_longer_ring_of_chains_is_told_too() -> None:
    async with rig(Plain) as here:
        ring = ["a", "b", "c", "d"]
        replies = [here.send(name, "walk", path=[ring[(index + 1) % 4]]) for index, name in enumerate(ring)]
        codes = [reply.problem.code for reply in [await reply for reply in replies] if reply.problem is not None]
        assert codes
        assert set(codes) == {"deadlock"}
        assert sum([await here.call(name, "get") for name in ring]) == 4 - len(codes)
