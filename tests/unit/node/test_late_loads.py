"""A load that completes after its activation was reset has no effect."""

import pytest

from goverse import Object, call
from goverse.errors import Unavailable
from tests.nodes import Bench, Meeting, bench, code, settle, value

PLACE = Meeting()


class Presence(Object):
    visits: int = 0

    async def on_deactivate(self) -> None:
        PLACE.note("on_deactivate")
        await self.ref("Board", "b").left()

    @call
    def enter(self) -> int:
        self.visits += 1
        return self.visits


class Board(Object):
    count: int = 0

    @call
    def left(self) -> int:
        self.count += 1
        return self.count


async def _enter_and_leave(b: Bench) -> None:
    assert value(await b.call(Presence, "p", "enter")) == 1
    await b.passivate()
    assert PLACE.happened == ["on_deactivate"]


@pytest.mark.parametrize("how", ["closed", "dropped", "failed first"])
@pytest.mark.requirement("OBJ-5", "OBJ-4")
async def test_an_object_whose_shard_left_while_it_was_loading_stays_gone(how: str, meeting: Meeting) -> None:
    async with bench(Presence, Board) as b:
        await _enter_and_leave(b)
        emptied: list[int] = []
        b.store.deferring = True
        waiting = b.call(Presence, "p", "enter")
        [activation] = [one for one in b.node.activations if one.key.type == "Presence"]
        if how == "closed":
            b.node.evacuation.close([0], b.node.now() + 1.0, emptied.append)
        elif how == "dropped":
            b.node.evacuation.drop([0])
        else:
            activation.reset(Unavailable("the store gave no answer"), refuse=True)
        assert code(await waiting) == ("unavailable" if how == "failed first" else "moving")
        assert emptied == ([0] if how == "closed" else [])

        b.store.answer()
        b.store.deferring = False
        await settle()
        activation.close()
        await settle()
        assert meeting.happened == ["on_deactivate"]
        assert value(await b.call(Board, "b", "left")) == 2
        assert value(await b.call(Presence, "p", "enter")) == 2


@pytest.mark.requirement("OBJ-5")
async def test_a_load_that_is_answered_after_the_node_stopped_brings_nothing_back(meeting: Meeting) -> None:
    async with bench(Presence, Board) as b:
        await _enter_and_leave(b)
        b.store.deferring = True
        waiting = b.call(Presence, "p", "enter")
        [activation] = [one for one in b.node.activations if one.key.type == "Presence"]
        stopped, store = b.node, b.store
        await stopped.stop(0.0)
        assert code(await waiting) == "draining"
        store.answer()
        await settle()
        assert not list(stopped.activations)
        activation.close()
        await settle()
        assert meeting.happened == ["on_deactivate"]
