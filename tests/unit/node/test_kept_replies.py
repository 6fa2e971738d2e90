"""Kept replies: the calls whose replies are kept under idempotency keys, and the limit on their bytes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from goverse import BusinessError, Object, call
from goverse.limits import IDEMPOTENCY_RETENTION_S, KIB, MIB
from goverse.model.keys import ObjectKey
from goverse.objects.registry import Registry
from goverse.ports.clock import ManualClock
from goverse_node.options import NodeOptions
from goverse_node.stores.kept import KeptBounds
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.table import SWEEP_SPAN_MS
from goverse_node.stores.wal.store import WalStore
from tests.gated_store import GatedStore
from tests.nodes import Bench, Meeting, bench, code, problem, value

RUNS: list[str] = []
PLACE = Meeting()


class Declined(BusinessError):
    """The bag is closed."""

    status = 409
    code = "declined_in_kept_replies"


class Bag(Object, delete="anyone"):
    things: int = 0

    async def on_create(self) -> None:
        if self.id == "closed":
            raise Declined

    @call
    async def put(self, size: int = 0) -> str:
        RUNS.append("put")
        self.things += 1
        return "x" * size

    @call(readonly=True)
    async def look(self, size: int = 0) -> str:
        RUNS.append("look")
        return "x" * size + str(self.things)

    @call
    async def hold(self) -> None:
        await PLACE.wait("hold")

    @call
    async def ask(self, other: str) -> str:
        return await self.ref(Bag, other).look()


@pytest.fixture(autouse=True)
def no_runs() -> None:
    RUNS.clear()


async def _put(b: Bench, object_id: str, key: str, size: int = 0) -> str:
    return code(await b.call(Bag, object_id, "put", {"size": size}, idempotency_key=key))


@pytest.mark.requirement("DUR-2")
async def test_the_reply_of_a_readonly_call_is_not_kept_and_every_one_runs() -> None:
    async with bench(Bag) as b:
        for _ in range(3):
            looked = await b.call(Bag, "a", "look", {"size": 100_000}, idempotency_key="k")
            assert not looked.replayed
        other = await b.call(Bag, "a", "look", {"size": 5}, idempotency_key="k")
        put = await b.call(Bag, "a", "put", idempotency_key="k")
        after = await b.call(Bag, "a", "look", idempotency_key="k")

        assert RUNS == ["look"] * 4 + ["put", "look"]
        assert [value(each) for each in (other, put, after)] == ["xxxxx0", "", "1"]
        assert [record.idempotency_key for _, record in b.store.durable if record.reply is not None] == ["k"]


@pytest.mark.requirement("DUR-2")
async def test_neither_are_replies_of_nested_readonly_calls_and_of_hooks_that_refuse_them() -> None:
    async with bench(Bag) as b:
        assert value(await b.call(Bag, "a", "ask", {"other": "b"}, idempotency_key="k")) == "0"
        assert code(await b.call(Bag, "closed", "look", idempotency_key="k")) == "declined_in_kept_replies"

        assert {record.key.id for _, record in b.store.durable if record.reply is not None} == {"a"}


@pytest.mark.requirement("DUR-2")
async def test_a_readonly_call_with_a_key_that_waits_too_long_times_out_as_one_without(meeting: Meeting) -> None:
    async with bench(Bag) as b:
        held = b.call(Bag, "a", "hold")
        await meeting.reached("hold")

        late = await b.call(Bag, "a", "look", idempotency_key="k", timeout_s=0.1)

        assert code(late) == "timeout"
        meeting.let_go("hold")
        assert code(await held) == ""


def _memory(kept: KeptBounds, clock: ManualClock, _folder: Path) -> MemoryStore:
    return MemoryStore(kept=kept, clock=clock)


def _wal(kept: KeptBounds, clock: ManualClock, folder: Path) -> WalStore:
    return WalStore(folder / "data", kept=kept, clock=clock, snapshot_bytes=0)


STORES: dict[str, Callable[[KeptBounds, ManualClock, Path], MemoryStore | WalStore]] = {"memory": _memory, "wal": _wal}
Room = Callable[[KeptBounds], Awaitable[Bench]]


@pytest.fixture(params=STORES)
async def room(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Room]:
    """Creates a bench whose store limits kept replies."""
    opened: list[Bench] = []

    async def make(kept: KeptBounds) -> Bench:
        clock = ManualClock()
        inner = STORES[request.param](kept, clock, tmp_path)
        store = GatedStore(inner)
        await store.open()
        made = Bench(Registry([Bag]), store, NodeOptions(), clock)
        await made.node.start()
        opened.append(made)
        return made

    yield make
    for made in opened:
        await made.node.stop(1.0)
        await made.store.close()


@pytest.mark.requirement("DUR-2")
async def test_a_full_store_refuses_new_keyed_calls_and_answers_repeated_ones(room: Room) -> None:
    b = await room(KeptBounds(MIB, MIB))
    sent = 0
    while await _put(b, f"o{sent}", "k", 100 * KIB) == "":
        sent += 1
    RUNS.clear()

    refused = await b.call(Bag, "new", "put", idempotency_key="k")
    again = await b.call(Bag, "o3", "put", {"size": 100 * KIB}, idempotency_key="k")

    assert sent == 11
    assert (code(refused), problem(refused).retryable, RUNS) == ("overloaded", True, [])
    assert "node.kept_replies_bytes_max" in problem(refused).detail
    assert (again.replayed, len(value(again))) == (True, 100 * KIB)
    assert code(await b.call(Bag, "new", "put")) == ""
    assert code(await b.call(Bag, "new", "look", idempotency_key="k")) == ""
    assert code(await b.delete(Bag, "new")) == ""


@pytest.mark.requirement("DUR-2")
async def test_one_object_does_not_use_up_the_room_of_all(room: Room) -> None:
    b = await room(KeptBounds(100 * MIB, 1 * MIB))
    sent = 0
    while await _put(b, "greedy", f"k{sent}", 100 * KIB) == "":
        sent += 1

    assert sent == 11
    refused = problem(await b.call(Bag, "greedy", "put", idempotency_key="n"))
    assert "node.kept_replies_object_bytes_max" in refused.detail
    assert await _put(b, "modest", "k", 100 * KIB) == ""
    assert (await b.call(Bag, "greedy", "put", {"size": 100 * KIB}, idempotency_key="k0")).replayed


@pytest.mark.requirement("DUR-2")
async def test_room_is_freed_when_replies_expire_though_every_call_is_refused(room: Room) -> None:
    b = await room(KeptBounds(MIB, MIB))
    sent = 0
    while await _put(b, f"o{sent}", "k", 100 * KIB) == "":
        sent += 1

    b.clock.advance(IDEMPOTENCY_RETENTION_S + 2 * SWEEP_SPAN_MS / 1000)  # type: ignore[union-attr]

    assert await _put(b, "new", "k", 100 * KIB) == ""


@pytest.mark.requirement("DUR-2")
async def test_what_a_log_brings_back_is_counted(tmp_path: Path) -> None:
    clock = ManualClock()
    store = WalStore(tmp_path / "data", clock=clock, snapshot_bytes=0)
    await store.open()
    async with bench(Bag, store=GatedStore(store), clock=clock) as b:
        for n in range(20):
            await _put(b, "o", f"k{n}", 20 * KIB * (n % 2))
        before = store.stats()

    again = WalStore(tmp_path / "data", clock=clock, snapshot_bytes=0)
    await again.open()
    stats = again.stats()

    assert (stats.kept_replies, stats.kept_bytes) == (before.kept_replies, before.kept_bytes)
    assert before.kept_replies == 20
    assert before.kept_bytes > 10 * 20 * KIB
    assert again.recall(ObjectKey("default", "Bag", "o"), "k1") is not None
    await again.close()
