"""A shard that closes: an object leaves memory when its last waiting call is gone, by whatever path."""

import pytest

from goverse import Object, call
from tests.nodes import Meeting, bench, code, key_of, until

PLACE = Meeting()


class Slow(Object):
    total: int = 0

    async def on_activate(self) -> None:
        await PLACE.wait("hook")

    @call
    def add(self, by: int) -> int:
        self.total += by
        return self.total


@pytest.mark.requirement("OBJ-4")
@pytest.mark.parametrize("gone_by", ["bad arguments", "client gone", "deadline", "a turn"])
async def test_the_last_waiting_call_of_a_closing_shard_lets_its_object_leave(gone_by: str) -> None:
    async with bench(Slow) as b:
        arguments = {"wrong": 1} if gone_by == "bad arguments" else {"by": 1}
        reply = b.call(Slow, "a", "add", arguments)
        await PLACE.reached("hook")
        emptied: list[int] = []
        b.node.evacuation.close([0], b.node.now() + 60.0, emptied.append)
        activation = b.node.activations.get(key_of(Slow, "a"))
        assert activation is not None
        assert activation.vacating
        if gone_by == "client gone":
            reply.cancel()
        elif gone_by == "deadline":  # it passes while the hook runs, and the hook ends before the next sweep
            activation.running[0].request.deadline = b.node.now() - 1
        PLACE.let_go("hook")
        await until(lambda: emptied == [0])
        assert not b.resident(Slow, "a")
        if not reply.cancelled():
            expected = {"bad arguments": "invalid_arguments", "deadline": "timeout", "a turn": ""}
            assert code(reply.result()) == expected[gone_by]
