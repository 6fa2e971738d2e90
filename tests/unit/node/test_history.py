"""The change feed names the call that made each change."""

import pytest

from goverse import Object, call
from goverse.model.caller import identified
from goverse.model.cause import Cause
from tests.nodes import bench, key_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Wallet(Object, delete="anyone"):
    cents: int = 0
    opened: int = 0

    async def on_activate(self) -> None:
        self.opened += 1

    @call
    async def put(self, cents: int) -> int:
        self.cents += cents
        return self.cents


@pytest.mark.requirement("OBS-3")
async def test_a_change_names_method_request_and_trace() -> None:
    async with bench(Wallet) as one:
        alice, trace = identified("alice"), f"00-{TRACE}-00f067aa0ba902b7-01"
        await one.create(Wallet, "w", request_id="first")
        await one.call(Wallet, "w", "put", {"cents": 5}, request_id="second", traceparent=trace, caller=alice)
        await one.delete(Wallet, "w", request_id="third")

        changes = await one.store.changes(0, 10)
        assert {change.key for change in changes} == {key_of(Wallet, "w")}
        assert [change.cause for change in changes] == [
            Cause("", "", "first"),
            None,  # by the hook
            Cause("put", "alice", "second", TRACE),
            Cause("", "", "third"),
        ]


async def test_causes_can_be_switched_off() -> None:
    async with bench(Wallet, history_cause=False) as one:
        await one.call(Wallet, "w", "put", {"cents": 5})

        assert [change.cause for change in await one.store.changes(0, 10)] == [None, None]
