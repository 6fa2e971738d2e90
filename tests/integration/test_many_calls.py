"""Many reliable calls on one node: a call that always fails delays no other pair, and a turn can send thousands."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from goverse import Object, call, handler
from goverse_node.stores.wal.store import WalStore
from tests.integration.fan_out import check_fan_out
from tests.nodes import bench, key_of, until, value

pytestmark = pytest.mark.requirement("DUR-3")

FAST = (timedelta(milliseconds=1), timedelta(milliseconds=5))
POISONED = 5
INNOCENT = 8
EACH = 20


class Shop(Object):
    """Receives calls. ``got`` lists what took effect, in order."""

    got: list[tuple[str, int]] = []

    @handler
    async def take(self, sender: str, number: int) -> None:
        self.got.append((sender, number))

    @handler
    async def fail(self) -> None:
        raise RuntimeError("every attempt fails")

    @call(readonly=True)
    def look(self) -> list[tuple[str, int]]:
        return self.got


class Buyer(Object):
    """Sends calls to two shops. ``poisoned`` ones always fail."""

    @call
    def order(self, count: int, poisoned: int) -> None:
        for _ in range(poisoned):
            self.sending(attempts=1_000_000, backoff=FAST)(self.ref(Shop, "a").fail)
        for number in range(count):
            if not poisoned:
                self.send(self.ref(Shop, "a").take, sender=self.id, number=number)
            self.send(self.ref(Shop, "b").take, sender=self.id, number=number)


async def test_a_call_that_always_fails_delays_its_own_pair_only() -> None:
    async with bench(Shop, Buyer) as b:
        value(await b.call(Buyer, "poisoner", "order", {"count": EACH, "poisoned": POISONED}))
        await until(lambda: b.node.dispatcher.counts.attempts_failed > 0)
        buyers = [f"buyer-{n}" for n in range(INNOCENT)]
        for buyer in buyers:
            value(await b.call(Buyer, buyer, "order", {"count": EACH, "poisoned": 0}))
        outboxes = b.node.dispatcher.outboxes
        await until(lambda: len(outboxes.entries) == POISONED)

        for shop, senders in (("a", buyers), ("b", ["poisoner", *buyers])):
            got = value(await b.call(Shop, shop, "look"))
            for sender in senders:
                assert [n for name, n in got if name == sender] == list(range(EACH)), (shop, sender)
            assert len(got) == EACH * len(senders)
        stuck = outboxes.of_sender(key_of(Buyer, "poisoner"))
        assert [entry.call.method for entry in stuck] == ["fail"] * POISONED
        failed = b.node.dispatcher.counts.attempts_failed
        assert [entry.place.attempts for entry in stuck] == [failed, *[0] * (POISONED - 1)]


async def test_a_turn_sends_all_its_calls_or_none(tmp_path: Path) -> None:
    store = WalStore(tmp_path / "wal")
    await store.open()
    try:
        await check_fan_out(store, 1_000)
    finally:
        await store.close()
