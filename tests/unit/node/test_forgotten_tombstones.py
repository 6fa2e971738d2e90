"""Versions never decrease, even if the store forgets tombstones while activations of missing objects are in memory."""

import pytest

from goverse import Object, call
from goverse.limits import TOMBSTONE_RETENTION_S
from goverse.ports.clock import ManualClock
from goverse_node.stores.memory import MemoryStore
from tests.gated_store import GatedStore
from tests.nodes import Bench, Meeting, bench, code, value

PLACE = Meeting()


class Slot(Object, delete="anyone"):
    uses: int = 0

    async def on_create(self) -> None:
        if self.id == "slow":
            await PLACE.wait("creating")

    @call
    def use(self) -> int:
        self.uses += 1
        return self.uses

    @call
    async def use_slowly(self) -> int:
        await PLACE.wait("using")
        self.uses += 1
        return self.uses

    @call
    def refuse(self) -> None:
        raise ValueError


async def _forget_tombstones(b: Bench, clock: ManualClock) -> None:
    """Raise the floor of the type to 6."""
    for _ in range(3):
        assert code(await b.create(Slot, "old")) == ""
        assert code(await b.delete(Slot, "old")) == ""
    clock.advance(2 * TOMBSTONE_RETENTION_S)
    assert code(await b.create(Slot, "another")) == ""


@pytest.mark.requirement("OBJ-3")
async def test_an_object_that_was_in_memory_before_can_be_created_at_once() -> None:
    clock = ManualClock()
    store = GatedStore(MemoryStore(clock=clock))
    async with bench(Slot, store=store, clock=clock) as b:
        for object_id in ("created", "called"):
            assert code(await b.call(Slot, object_id, "refuse")) == "method_failed"
            assert code(await b.delete(Slot, object_id)) == ""
            assert b.resident(Slot, object_id)
        await _forget_tombstones(b, clock)
        created = await b.create(Slot, "created")
        assert (code(created), created.created) == ("", True)
        called = await b.call(Slot, "called", "use")
        assert value(called) == 1
        assert created.version > 6
        assert called.version > 6


@pytest.mark.requirement("OBJ-3")
async def test_an_object_whose_creation_runs_while_tombstones_are_forgotten_is_created(meeting: Meeting) -> None:
    clock = ManualClock()
    store = GatedStore(MemoryStore(clock=clock))
    async with bench(Slot, store=store, clock=clock) as b:
        creating = b.create(Slot, "slow")
        await meeting.reached("creating")
        await _forget_tombstones(b, clock)
        meeting.let_go("creating")
        reply = await creating
        assert (code(reply), reply.version) == ("", 7)
