"""Reads after the node's lease has expired: a commit confirms the claim before the reply is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from goverse import Object, call
from goverse.model.keys import ObjectKey
from tests.nodes import Bench, bench, code, until, value

pytestmark = pytest.mark.requirement("CLU-2")

SHARD = 3


class Notes(Object):
    text: str = ""

    @call
    async def write(self, text: str) -> None:
        self.text = text


class Lapsed:
    """Shard access of a node whose claim is in the store and whose lease has expired."""

    def __init__(self) -> None:
        self.held: int | None = 1

    def shard_of(self, key: ObjectKey) -> int:
        del key
        return SHARD

    def hash_of(self, key: ObjectKey) -> int:
        del key
        return 0

    def epoch(self, shard: int) -> int | None:
        del shard
        return self.held

    def may_answer(self, shard: int, epoch: int) -> bool:
        del shard, epoch
        return False

    def fenced(self, shard: int, epoch: int) -> None:
        del shard, epoch
        self.held = None


@pytest.fixture
async def node() -> AsyncIterator[Bench]:
    async with bench(Notes) as found:
        assert await found.store.claim([SHARD], "us") == {SHARD: 1}
        found.node.shard_access = Lapsed()
        yield found


async def test_a_state_is_read_after_the_store_confirmed_the_claim(node: Bench) -> None:
    await node.call(Notes, "n", "write", {"text": "ours"})
    node.store.hold()
    before = node.store.arrived
    reading, missing = node.read(Notes, "n"), node.read(Notes, "nowhere")
    await until(lambda: node.store.arrived > before)
    assert not reading.done()
    assert not missing.done()
    node.store.release()
    assert value(await reading) == {"text": "ours"}
    assert code(await missing) == "object_not_found"


async def test_a_state_is_not_read_once_another_node_has_the_claim(node: Bench) -> None:
    await node.call(Notes, "n", "write", {"text": "ours"})
    await node.store.claim([SHARD], "them")
    assert code(await node.read(Notes, "n")) == "unavailable"
    assert node.node.shard_access.epoch(SHARD) is None


@pytest.mark.parametrize("when", ["before", "during the load"])
@pytest.mark.parametrize("object_id", ["n", "nowhere"])
async def test_a_node_whose_shard_is_not_open_does_not_answer_from_the_store(
    node: Bench, object_id: str, when: str
) -> None:
    await node.call(Notes, "n", "write", {"text": "ours"})
    await node.passivate()
    access = node.node.shard_access
    assert isinstance(access, Lapsed)
    node.store.deferring = when == "during the load"
    if when == "before":
        access.held = None
    reading = node.read(Notes, object_id)
    access.held = None
    node.store.answer()
    assert code(await reading) == "moving"
