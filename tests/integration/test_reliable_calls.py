"""Reliable calls on a real node: what objects send takes effect once, through failures of methods, stores and nodes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from goverse import BusinessError, Object, Outcome, call, handler
from goverse.errors import Unavailable
from goverse.model.effects import FinishedCall
from goverse.model.frames import Operation, Reply, Request
from goverse.model.records import CommitRecord
from goverse.objects.registry import Registry
from goverse.ports.outbox import CallFilter
from goverse.ports.store import CommitOutcome
from goverse_node.node import Node
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.wal.store import WalStore
from tests.gated_store import GatedStore
from tests.nodes import PATIENCE_S, code, key_of, until, value

pytestmark = pytest.mark.requirement("DUR-3")

FAST = (timedelta(milliseconds=1), timedelta(milliseconds=20))
HOUR = timedelta(hours=1)


class SoldOut(BusinessError):
    """The shop has no more."""

    status = 409
    code = "sold_out"


class Shop(Object):
    """Receives calls. ``got`` lists what took effect, in order."""

    got: list[str] = []

    @handler(raises=(SoldOut,))
    async def take(self, name: str, stock: bool = True) -> int:
        if not stock:
            raise SoldOut("nothing is left")
        self.got.append(name)
        return len(self.got)

    @handler
    async def break_down(self) -> None:
        self.got.append("never committed")
        raise RuntimeError("a bug")

    @handler
    async def pass_on(self, name: str, hops: int) -> None:
        self.got.append(name)
        if hops:
            self.send(self.ref(Shop, f"{self.id}+").pass_on, name=name, hops=hops - 1)

    @call(readonly=True)
    def look(self) -> list[str]:
        return self.got


class Buyer(Object, delete="anyone"):
    """Sends calls. ``ends`` lists the outcomes that it received."""

    ends: list[tuple[str, str]] = []
    own: int = 0

    @call
    def order(self, names: list[str]) -> None:
        for name in names:
            self.send(self.ref(Shop, "s").take, name=name)

    @call
    def order_then(self, name: str, stock: bool = True, delay_s: float = 0.0) -> None:
        options: dict[str, Any] = {"delay": timedelta(seconds=delay_s)} if delay_s else {}
        self.sending(then=self.ended, id=name, backoff=FAST, **options)(
            self.ref(Shop, "s").take, name=name, stock=stock
        )

    @call
    def order_briefly(self, name: str) -> None:
        self.sending(then=self.nothing, id=name, backoff=FAST, expires=timedelta(milliseconds=30), attempts=1_000)(
            self.ref(Shop, "s").break_down
        )

    @call
    def order_in_vain(self, name: str) -> None:
        self.sending(then=self.nothing, id=name, backoff=FAST, attempts=2)(self.ref(Shop, "s").break_down)

    @call
    def order_and_fail(self) -> None:
        self.send(self.ref(Shop, "s").take, name="never")
        raise RuntimeError("a bug")

    @call
    def take_back(self, name: str) -> bool:
        return self.cancel(name)

    @call
    def chain(self, hops: int) -> None:
        self.send(self.ref(Shop, "c").pass_on, name="token", hops=hops)

    @call
    def remind(self) -> None:
        self.send(self.work)

    @handler
    async def work(self) -> None:
        self.own += 1

    @handler
    def ended(self, outcome: Outcome[int]) -> None:
        refused = outcome.state == "failed" and outcome.problem
        self.ends.append((outcome.id, refused.code if refused else outcome.state))

    @handler
    def nothing(self, outcome: Outcome[None]) -> None:
        self.ends.append((outcome.id, outcome.state))

    @call(readonly=True)
    def look(self) -> list[tuple[str, str]]:
        return self.ends

    @call(readonly=True)
    def worked(self) -> int:
        return self.own

    @call(readonly=True)
    def pending(self) -> list[str]:
        return [each.id for each in self.outbox]


class Account(Object):
    cents: int = 1_000
    moved: int = 0

    @call
    def transfer(self, to: str, cents: int, name: str) -> bool:
        if cents > self.cents:
            return False
        self.cents -= cents
        self.sending(then=self.transferred, id=name, backoff=FAST, attempts=6)(
            self.ref(Account, to).deposit, cents=cents, name=name
        )
        return True

    @handler(raises=(SoldOut,))
    async def deposit(self, cents: int, name: str) -> int:
        self.cents += cents
        draw = CHANCE.random()
        if draw < 0.15:
            raise RuntimeError("a bug")
        if draw < 0.25:
            raise SoldOut("no deposits today")
        return cents

    @handler
    def transferred(self, outcome: Outcome[int]) -> None:
        if CHANCE.random() < 0.15:
            raise RuntimeError("a bug")
        self.moved += 1
        if not outcome.ok:
            self.cents += int(outcome.id.partition(":")[2])

    @call(readonly=True)
    def look(self) -> tuple[int, int]:
        return self.cents, self.moved


CHANCE = Random(1)
CLASSES = (Shop, Buyer, Account)
Opener = Callable[[], MemoryStore | WalStore]


class Site:
    """A store, and the present node over it."""

    def __init__(self, open_store: Opener) -> None:
        self._open_store = open_store
        self.store = GatedStore(open_store())
        self.node = Node(Registry(CLASSES), self.store)

    async def start(self) -> Site:
        await self.store.open()
        await self.node.start()
        return self

    async def restart(self) -> None:
        """Stop the node and open the store again, with a node of its own."""
        await self.stop()
        inner = self._open_store()
        self.store = GatedStore(self.store.inner if isinstance(inner, MemoryStore) else inner)
        self.node = Node(Registry(CLASSES), self.store)
        await self.start()

    async def stop(self) -> None:
        await self.node.stop(PATIENCE_S)
        await self.store.close()

    async def call(self, target: type[Any], object_id: str, method: str, **arguments: Any) -> Reply:
        return await self._submit(Operation.CALL, target, object_id, method, **arguments)

    async def read(self, target: type[Any], object_id: str) -> Reply:
        return await self._submit(Operation.READ, target, object_id, "")

    async def delete(self, target: type[Any], object_id: str) -> Reply:
        return await self._submit(Operation.DELETE, target, object_id, "")

    async def _submit(
        self, operation: Operation, target: type[Any], object_id: str, method: str, **arguments: Any
    ) -> Reply:
        body = orjson.dumps(arguments) if arguments else b""
        deadline = self.node.now() + PATIENCE_S
        return await self.node.submit(Request(operation, key_of(target, object_id), method, body, deadline, "r", None))

    async def ask(self, target: type[Any], object_id: str, method: str, **arguments: Any) -> Any:
        return value(await self.call(target, object_id, method, **arguments))

    async def delivered(self) -> None:
        """Wait until no call is pending."""
        shards, entries = self.node.dispatcher.outboxes.shards, self.node.dispatcher.outboxes.entries
        await until(lambda: not any(shard.loading for shard in shards.values()) and not entries)

    async def finished(self) -> Sequence[FinishedCall]:
        return await self.store.finished(CallFilter(), limit=1_000)


@pytest.fixture(params=["memory", "wal"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return MemoryStore if request.param == "memory" else lambda: WalStore(tmp_path / "wal")


@asynccontextmanager
async def opened(opener: Opener) -> AsyncGenerator[Site]:
    site = await Site(opener).start()
    try:
        yield site
    finally:
        await site.stop()


async def test_calls_take_effect_once_and_in_order(opener: Opener) -> None:
    names = [f"n{n}" for n in range(40)]
    async with opened(opener) as site:
        await site.ask(Buyer, "b", "order", names=names)
        assert code(await site.call(Buyer, "b", "order_and_fail")) == "method_failed"
        await site.delivered()

        assert await site.ask(Shop, "s", "look") == names
        assert await site.ask(Buyer, "b", "pending") == []
        assert not await site.finished()


async def test_each_outcome_reaches_the_sender_once(opener: Opener) -> None:
    async with opened(opener) as site:
        await site.ask(Buyer, "b", "order_then", name="sold")
        await site.ask(Buyer, "b", "order_then", name="refused", stock=False)
        await site.ask(Buyer, "b", "order_in_vain", name="dead")
        await site.ask(Buyer, "b", "order_briefly", name="late")
        await site.delivered()

        assert await site.ask(Buyer, "b", "look") == [
            ["sold", "success"],
            ["refused", "sold_out"],
            ["dead", "dead"],
            ["late", "expired"],
        ]
        assert await site.ask(Shop, "s", "look") == ["sold"]
        ends = {end.call.id: end.state for end in await site.finished()}
        assert ends == {"refused": "failed", "dead": "dead", "late": "expired"}


async def test_a_handler_an_own_method_and_a_chain_of_calls_are_run(opener: Opener) -> None:
    async with opened(opener) as site:
        assert code(await site.call(Shop, "s", "take", name="from outside")) == "access_denied"
        await site.ask(Buyer, "b", "remind")
        await site.ask(Buyer, "b", "chain", hops=20)
        await site.delivered()

        assert await site.ask(Buyer, "b", "worked") == 1
        assert await site.ask(Shop, "c" + "+" * 20, "look") == ["token"]


async def test_delayed_calls_wait_and_can_be_cancelled(opener: Opener) -> None:
    async with opened(opener) as site:
        await site.ask(Buyer, "b", "order_then", name="soon", delay_s=0.05)
        await site.ask(Buyer, "b", "order_then", name="much later", delay_s=3_600)
        assert "much later" in await site.ask(Buyer, "b", "pending")
        await until(lambda: len(site.node.dispatcher.outboxes.entries) == 1)
        await site.restart()
        assert await site.ask(Buyer, "b", "take_back", name="much later") is True
        await site.delivered()

        assert await site.ask(Buyer, "b", "look") == [["soon", "success"], ["much later", "cancelled"]]
        assert await site.ask(Shop, "s", "look") == ["soon"]


async def test_a_restarted_node_delivers_what_is_pending(opener: Opener) -> None:
    def settles(record: CommitRecord) -> bool:
        return record.effects is not None and record.effects.settles is not None

    async with opened(opener) as site:
        await site.ask(Buyer, "b", "order_then", name="later", delay_s=0.05)
        await site.ask(Buyer, "b", "order", names=["a", "b"])
        site.store.refuse(settles)
        for activation in site.node.activations:
            if activation.idle:
                activation.close()
        await site.restart()
        await site.delivered()

        assert sorted(await site.ask(Shop, "s", "look")) == ["a", "b", "later"]
        assert await site.ask(Buyer, "b", "look") == [["later", "success"]]


async def test_an_outcome_reaches_a_sender_that_was_deleted_meanwhile_as_any_call_does(opener: Opener) -> None:
    async with opened(opener) as site:
        await site.ask(Buyer, "b", "order_then", name="sold", delay_s=0.05)
        deleted = await site.delete(Buyer, "b")
        assert deleted.problem is None
        await site.delivered()

        assert await site.ask(Shop, "s", "look") == ["sold"]
        found = await site.read(Buyer, "b")
        assert value(found)["ends"] == [["sold", "success"]]
        assert found.version > deleted.version
        assert not await site.finished()


class FaultyStore(GatedStore):
    """Fails some commits, and refuses all of them from a killed node."""

    dead = False
    faults = 0.0

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        if self.dead or CHANCE.random() < self.faults:
            raise Unavailable("the store does not answer")
        return await super().commit(batch)


ACCOUNTS = [f"a{n}" for n in range(50)]


async def _bank(site: Site, transfers: int) -> int:
    """Make random transfers, kill the node between them, and return the number of transfers that were accepted."""
    accepted = 0
    for number in range(transfers):
        source, target, cents = CHANCE.choice(ACCOUNTS), CHANCE.choice(ACCOUNTS), CHANCE.randint(1, 300)
        reply = await site.call(Account, source, "transfer", to=target, cents=cents, name=f"t{number}:{cents}")
        accepted += reply.problem is None and value(reply)
        if number % 50 == 49:
            assert isinstance(site.store, FaultyStore)
            site.store.dead = True
            site.store = FaultyStore(site.store.inner)
            site.store.faults = 0.05
            dropped, site.node = site.node, Node(Registry(CLASSES), site.store)
            await site.node.start()
            await dropped.stop(0)
    return accepted


async def test_a_bank_keeps_its_money_through_faults_and_kills() -> None:
    CHANCE.seed(7)
    site = Site(MemoryStore)
    site.store = FaultyStore()
    site.node = Node(Registry(CLASSES), site.store)
    await site.start()
    try:
        accepted = await _bank(site, 300)
        assert isinstance(site.store, FaultyStore)
        site.store.faults = 0.0
        await site.delivered()

        found = [await site.ask(Account, name, "look") for name in ACCOUNTS]
        given_up = [end for end in await site.finished() if end.call.id.endswith(".then")]
        unpaid = [end.call.id for end in given_up if not orjson.loads(end.call.body)["outcome"]["ok"]]
        lost = sum(int(call_id.partition(":")[2].removesuffix(".then")) for call_id in unpaid)
        assert sum(cents for cents, _ in found) + lost == 50 * 1_000
        assert sum(moved for _, moved in found) + len(given_up) == accepted
        assert not await site.store.pending([0], limit=1)
    finally:
        await site.stop()
