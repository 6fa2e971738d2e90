"""An object that sends many calls in one turn, over any store."""

from __future__ import annotations

from typing import Any

import orjson

from goverse import Object, call, handler
from goverse.limits import CALL_TIMEOUT_S_MAX
from goverse.model.frames import Operation, Request
from goverse.model.receipts import SENDS_MAX
from goverse.objects.registry import Registry
from goverse.ports.store import Store
from goverse_node.node import Node
from tests.nodes import code, key_of, until, value

SPOKES = 100


class Spoke(Object):
    """Receives calls. ``got`` lists their numbers, in order."""

    got: list[int] = []

    @handler
    async def take(self, number: int) -> None:
        self.got.append(number)

    @call(readonly=True)
    def look(self) -> list[int]:
        return self.got


class Hub(Object):
    """Sends calls to all spokes, in turns."""

    @call
    def fan_out(self, count: int) -> None:
        for number in range(count):
            self.send(self.ref(Spoke, str(number % SPOKES)).take, number=number)


async def _exceeds(ended: dict[str, int], last: int) -> None:
    await until(lambda: ended["success"] > last)


async def check_fan_out(store: Store, count: int) -> None:
    """Check that a call too many refuses them all, and that each of ``count`` calls is delivered once and in order."""
    node = Node(Registry((Hub, Spoke)), store)
    await node.start()

    async def ask(target: type[Any], object_id: str, method: str, **arguments: int) -> Any:
        body = orjson.dumps(arguments) if arguments else b""
        deadline = node.now() + CALL_TIMEOUT_S_MAX
        return await node.submit(Request(Operation.CALL, key_of(target, object_id), method, body, deadline, "r"))

    try:
        assert code(await ask(Hub, "h", "fan_out", count=SENDS_MAX + 1)) == "overloaded"
        assert not node.dispatcher.outboxes.entries
        assert await store.pending([0], limit=1) == []

        value(await ask(Hub, "h", "fan_out", count=count))
        ended = node.dispatcher.counts.ended
        while (last := ended["success"]) < count:
            await _exceeds(ended, last)
        assert not node.dispatcher.outboxes.entries
        assert await store.pending([0], limit=1) == []
        for spoke in range(SPOKES):
            assert value(await ask(Spoke, str(spoke), "look")) == list(range(spoke, count, SPOKES))
    finally:
        await node.stop(0)
