"""A fenced commit: the node gives up the shard and no longer serves its objects from memory."""

import asyncio

import pytest

from goverse import Object, call
from goverse.model.keys import ObjectKey
from tests.nodes import Bench, Meeting, bench, code, key_of, settle, value

PLACE = Meeting()


class Purse(Object):
    coins: int = 0

    @call
    def add(self) -> int:
        self.coins += 1
        return self.coins

    @call(readonly=True)
    async def hold(self) -> int:
        await PLACE.wait("holding")
        return self.coins

    @call(readonly=True)
    def look(self) -> int:
        return self.coins


class Claim:
    """Shard access of a node that has claimed shard 0 and learns from the store alone that it lost it."""

    def __init__(self) -> None:
        self.now: int | None = 1
        self.told: list[tuple[int, int]] = []

    def shard_of(self, key: ObjectKey) -> int:
        del key
        return 0

    def hash_of(self, key: ObjectKey) -> int:
        del key
        return 0

    def epoch(self, shard: int) -> int | None:
        del shard
        return self.now

    def may_answer(self, shard: int, epoch: int) -> bool:
        del shard, epoch
        return True

    def fenced(self, shard: int, epoch: int) -> None:
        self.told.append((shard, epoch))
        self.now = None


async def _claimed(b: Bench) -> Claim:
    b.node.shard_access = claim = Claim()
    await b.store.claim([0], "here")
    assert value(await b.call(Purse, "p", "add")) == 1
    return claim


@pytest.mark.requirement("CLU-2", "DUR-1")
async def test_a_fenced_commit_ends_the_claim_and_the_activation(meeting: Meeting) -> None:
    async with bench(Purse) as b:
        claim = await _claimed(b)
        beside = b.call(Purse, "q", "add")
        assert value(await beside) == 1
        await b.store.claim([0], "another node")

        b.store.hold()
        fenced, behind = b.call(Purse, "p", "add"), b.call(Purse, "p", "look")
        holding = b.call(Purse, "p", "hold")
        await meeting.reached("holding")
        b.store.release()
        assert [code(await each) for each in (fenced, behind, holding)] == ["unavailable"] * 3
        assert claim.told == [(0, 1)]
        assert not b.resident(Purse, "p")
        assert [code(await b.call(Purse, "p", method)) for method in ("add", "look")] == ["moving", "moving"]


@pytest.mark.requirement("CLU-2", "DUR-1")
async def test_calls_that_wait_behind_a_fenced_commit_go_to_the_next_owner(meeting: Meeting) -> None:
    async with bench(Purse) as b:
        claim = await _claimed(b)
        await b.store.claim([0], "another node")
        holding = b.call(Purse, "p", "hold")
        await meeting.reached("holding")
        activation = b.node.activations.get(key_of(Purse, "p"))
        assert activation is not None
        waiting = b.call(Purse, "p", "add")
        meeting.let_go("holding")
        assert value(await holding) == 1
        assert code(await waiting) == "unavailable"
        assert claim.told == [(0, 1)]
        assert activation.vacating
        await asyncio.wait_for(settle(), 5.0)
        assert not b.resident(Purse, "p")


@pytest.mark.requirement("DUR-1", "OBJ-9")
async def test_an_object_whose_commit_was_refused_is_as_it_is_stored() -> None:
    async with bench(Purse) as b:
        assert value(await b.call(Purse, "p", "add")) == 1
        b.store.refuse(lambda record: record.version == 2)
        assert code(await b.call(Purse, "p", "add")) == "unavailable"
        assert value(await b.call(Purse, "p", "look")) == 1
        assert value(await b.call(Purse, "p", "add")) == 2
