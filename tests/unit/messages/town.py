"""A dispatcher in a town of its own: a store, receivers that follow `goverse.model.receipts`, and virtual time.

The store outlives the node: `restart` ends the dispatcher as a kill does, and starts another one over the same store.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import orjson

from goverse.errors import GoverseError, Unavailable
from goverse.model.effects import ANY_VERSION, Effects, FinishedCall, Mark, PendingCall, SentCall
from goverse.model.frames import Problem, Reply, Request
from goverse.model.keys import ObjectKey, placement_hash
from goverse.model.receipts import NO_RECEIPT, Receipt, Settlement, Verdict, number_of
from goverse.model.records import CommitRecord, StoreHealth
from goverse.model.replies import decode_reply, encode_reply
from goverse.ports.clock import Clock
from goverse.ports.entropy import Entropy
from goverse.ports.outbox import CallFilter
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.messages.dispatcher import Dispatcher
from goverse_node.options import NodeOptions
from goverse_node.runtime.alone import Alone
from goverse_node.runtime.call import Call
from goverse_node.runtime.group_commit import CommitPipeline, PendingCommit
from goverse_node.runtime.stats import NodeStats
from goverse_node.shard_access import ShardAccess
from tests.simulation.loop import VirtualLoop

EPOCH_MS = 1_700_000_000_000
SHARDS = 4
Behaviour = Callable[[Request], Reply | None]


def key(kind: str, name: object) -> ObjectKey:
    return ObjectKey("default", kind, str(name))


def refusal(code: str, *, status: int | None = None) -> Reply:
    return Reply(problem=Problem(code, f"it is {code}", status=status))


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine on virtual time."""
    loop = VirtualLoop()

    async def main() -> None:
        try:
            await work()
        finally:
            while left := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in left:
                    task.cancel()
                await asyncio.wait(left, timeout=1)  # a pipeline takes a cancellation during a commit for its failure

    try:
        loop.run_until_complete(main())
        assert not loop.errors, loop.errors[0]
    finally:
        loop.close()


class VirtualClock:
    """The clock of the virtual loop. `skew_ms` moves the wall clock alone."""

    skew_ms = 0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ms(self) -> int:
        return EPOCH_MS + round(self.monotonic() * 1000) + self.skew_ms


@dataclass
class TownStore:
    """Outboxes, receipts and ends of calls. An answer about an end takes up to `answer_s`."""

    chance: Random
    epoch: int = 0
    seq: int = 0
    failures: float = 0.0
    answer_s: float = 0.02
    outbox: dict[int, PendingCall] = field(default_factory=dict[int, PendingCall])
    receipts: dict[tuple[ObjectKey, ObjectKey], Receipt] = field(
        default_factory=dict[tuple[ObjectKey, ObjectKey], Receipt]
    )
    ends: dict[str, FinishedCall] = field(default_factory=dict[str, FinishedCall])
    records: list[CommitRecord] = field(default_factory=list[CommitRecord])
    reads: int = 0

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        await asyncio.sleep(0.001)
        if self.chance.random() < self.failures:
            raise Unavailable("the store does not answer")
        return [self.write(record) for record in batch]

    def write(self, record: CommitRecord) -> CommitOutcome:
        effects = record.effects
        assert effects is not None
        if record.epoch != self.epoch:
            return Conflict("another node serves the shard", fenced=True)
        if effects.settles is not None and not self._settle(record.key, effects.settles):
            return Conflict("the delivery is not next")
        self.seq += 1
        self.records.append(record)
        for number in effects.removes:
            if number in self.outbox and self.outbox[number].sender == record.key:
                del self.outbox[number]
        for part, call in enumerate(effects.sends):
            number = number_of(self.seq, part)
            self.outbox[number] = PendingCall(number, record.key, record.shard, call)
        for mark in effects.marks:
            if mark.number in self.outbox:
                found = self.outbox[mark.number]
                self.outbox[mark.number] = found._replace(attempts=mark.attempts, void=mark.void)
        self.ends.update((end.call.id, end) for end in effects.finished)
        return self.seq

    def _settle(self, receiver: ObjectKey, settlement: Settlement) -> bool:
        pair = receiver, settlement.delivery.sender
        receipt = self.receipts.get(pair, NO_RECEIPT)
        if receipt.judge(settlement.delivery) is not Verdict.NEXT:
            return False
        self.receipts[pair] = receipt.settled(settlement)
        return True

    async def pending(self, shards: Collection[int], *, after: int = 0, limit: int) -> Sequence[PendingCall]:
        self.reads += 1
        found = [call for number, call in sorted(self.outbox.items()) if number > after and call.shard in shards]
        await asyncio.sleep(0.01)
        if self.chance.random() < self.failures:
            raise Unavailable("the store does not answer")
        return found[:limit]

    async def pending_where(
        self, where: CallFilter, *, shard: int | None = None, after: tuple[int, int] | None = None, limit: int
    ) -> Sequence[PendingCall]:
        del where, shard, after, limit
        return []

    async def count_finished(self, where: CallFilter, *, limit: int) -> int:
        del where, limit
        return 0

    def receipt(self, receiver: ObjectKey, sender: ObjectKey) -> Receipt:
        return self.receipts.get((receiver, sender), NO_RECEIPT)

    async def finished(
        self, where: CallFilter, *, after: tuple[int, str] | None = None, limit: int
    ) -> Sequence[FinishedCall]:
        del where, after
        return list(self.ends.values())[:limit]

    async def finished_call(
        self, namespace: str, call_id: str, *, sender: ObjectKey | None = None
    ) -> FinishedCall | None:
        end = self.ends.get(call_id)
        await asyncio.sleep(self.chance.uniform(0.2, 1.0) * self.answer_s)
        if end is not None and sender not in (None, end.sender):
            return None
        now_ms = EPOCH_MS + round(asyncio.get_running_loop().time() * 1000)
        return end if end is not None and end.sender.namespace == namespace and end.expires_ms > now_ms else None

    async def forget_finished(self, where: CallFilter, *, limit: int) -> int:
        del where, limit
        return 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def health(self) -> StoreHealth:
        return StoreHealth(True, "", self.seq)


class TownShards:
    """Access to the shards of one life of the node."""

    def __init__(self, epoch: int) -> None:
        self.number = epoch
        self.closed: set[int] = set()
        self.lost: list[tuple[int, int]] = []

    def shard_of(self, key: ObjectKey) -> int:
        return sum(key.id.encode()) % SHARDS

    def hash_of(self, key: ObjectKey) -> int:
        return placement_hash(key)

    def epoch(self, shard: int) -> int | None:
        return None if shard in self.closed else self.number

    def may_answer(self, shard: int, epoch: int) -> bool:
        del shard, epoch
        return True

    def fenced(self, shard: int, epoch: int) -> None:
        self.lost.append((shard, epoch))


class Ward:
    """Owner of the records that the town itself commits."""

    failure: GoverseError | None = None

    def __init__(self, done: Callable[[CommitRecord, int, GoverseError | None], None]) -> None:
        self._done = done

    def fenced(self) -> None: ...

    def settled(self, pending: PendingCommit, commit_seq: int, error: GoverseError | None) -> None:
        self._done(pending.record, commit_seq, error)


class TownHost:
    """One life of a node: its link, its pipeline and its dispatcher."""

    def __init__(self, town: Town, options: NodeOptions) -> None:
        self.town, self.store, self.options = town, town.store, options
        self.clock: Clock = town.clock
        self.entropy: Entropy = town.chance.randbytes
        town.store.epoch += 1
        self.shards = TownShards(town.store.epoch)
        self.shard_access: ShardAccess = self.shards
        self.calls: Any = self
        self.alone = Alone()
        store: Any = town.store
        self.pipeline = CommitPipeline(store, NodeStats(), batch_max_bytes=1 << 20)
        self.pipeline.start()
        self.dispatcher = Dispatcher(self, town.store)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def submit(self, request: Request) -> Future[Reply]:
        return asyncio.ensure_future(self._deliver(request))

    async def _deliver(self, request: Request) -> Reply:
        town, delivery = self.town, request.delivery
        assert delivery is not None
        town.deliveries.append(request)
        town.on_their_way += 1
        town.most = max(town.most, town.on_their_way)
        try:
            await asyncio.sleep(town.chance.random() * town.delay_s)
            reply = await self._receive(request)
            await asyncio.sleep(town.chance.random() * town.delay_s)
        finally:
            town.on_their_way -= 1
        return reply

    async def _receive(self, request: Request) -> Reply:
        town, delivery, store = self.town, request.delivery, self.store
        assert delivery is not None
        if town.chance.random() < town.faults:
            return refusal(town.chance.choice(("overloaded", "moving", "unavailable", "timeout")))
        receipt = store.receipt(request.key, delivery.sender)
        verdict = receipt.judge(delivery)
        if verdict is Verdict.OUT_OF_ORDER:
            return refusal("out_of_order")
        if verdict is Verdict.DUPLICATE:
            kept = receipt.outcome_of(delivery)
            if kept is None:
                stale = self is not town.host or delivery.number not in self.dispatcher.outboxes.entries
                assert stale, "the sender still needs this outcome"
                return replace(refusal("call_forgotten"), settled=True)
            return replace(decode_reply(kept, 0), settled=True) if kept else replace(refusal("call_void"), settled=True)
        place = Call(request, asyncio.get_running_loop().create_future(), NodeStats())
        asks = self.alone.refusal(place, delivery, self.now()) if delivery.alone else None
        if asks is not None:
            return Reply(problem=Problem.of(asks))
        reply = refusal("call_void") if delivery.void else town.behaviour(request)
        place.answered = True
        if reply is None:
            await asyncio.sleep(1e6)
            raise AssertionError
        if reply.problem is not None and reply.problem.status is None and not delivery.void:
            return reply
        settlement = Settlement(delivery, b"" if delivery.void else encode_reply(reply))
        record = CommitRecord(request.key, 0, 0, None, 0, 0, epoch=store.epoch, effects=Effects(settles=settlement))
        if isinstance(store.write(record), Conflict):
            return refusal("unavailable")
        if not delivery.void and reply.problem is None:
            town.effects.append((delivery.sender, request.key, delivery.id))
        return replace(reply, settled=True)

    def conclude(self, request: Request, effects: Effects) -> Future[Reply]:
        return asyncio.ensure_future(self._conclude(request, effects))

    async def _conclude(self, request: Request, effects: Effects) -> Reply:
        await asyncio.sleep(self.town.chance.random() * self.town.delay_s)
        problem = orjson.loads(request.body)["outcome"].get("problem")
        assert problem is None or problem["code"] != "call_forgotten", "a stale sender takes that for an outcome"
        reply = self.town.then(request)
        assert reply is not None
        if reply.problem is not None:
            return reply
        error = await self.commit(request.key, effects)
        if error is not None:
            return Reply(problem=Problem.of(error))
        self.town.outcomes.append(orjson.loads(request.body)["outcome"])
        return reply

    async def commit(self, sender: ObjectKey, effects: Effects) -> GoverseError | None:
        """Commit a record of an object, as a turn does."""
        shard = self.shard_access.shard_of(sender)
        record = CommitRecord(
            sender, ANY_VERSION, ANY_VERSION, None, 0, 0, shard=shard, epoch=self.shards.number, effects=effects
        )
        waiting: Future[GoverseError | None] = asyncio.get_running_loop().create_future()

        def done(record: CommitRecord, commit_seq: int, error: GoverseError | None) -> None:
            if error is None:
                self.dispatcher.committed(record, commit_seq)
            waiting.set_result(error)

        pending = PendingCommit(record, Ward(done), None, Reply())
        self.pipeline.append(self.dispatcher.addressed(pending, ()) if effects.marks else pending)
        return await waiting


class Town:
    """The store, the receivers, and the present life of the node.

    Attributes:
        behaviour, then: the methods of receivers and senders; None: no answer.
        faults: share of deliveries that are refused or fail before they run.
        effects: sender, receiver and id of each call that took effect, in order.
        outcomes: what senders received.
    """

    def __init__(self, seed: int = 1, **options: Any) -> None:
        self.chance = Random(seed)
        self.clock = VirtualClock()
        self.store = TownStore(self.chance)
        self.behaviour: Behaviour = lambda _: Reply(b"7")
        self.then: Behaviour = lambda _: Reply(b"null")
        self.faults = 0.0
        self.delay_s = 0.005
        self.deliveries: list[Request] = []
        self.on_their_way = self.most = 0
        self.effects: list[tuple[ObjectKey, ObjectKey, str]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.options = NodeOptions(**options)
        self._earlier: list[TownHost] = []
        self.host = TownHost(self, self.options)

    @property
    def dispatcher(self) -> Dispatcher:
        return self.host.dispatcher

    def open(self, *, crashed: bool = False) -> None:
        self.dispatcher.open(range(SHARDS), range(SHARDS) if crashed else ())

    async def opened(self) -> Town:
        self.open()
        await self.until(lambda: not any(shard.loading for shard in self.dispatcher.outboxes.shards.values()))
        return self

    def restart(self, *, crashed: bool = False, sign: bool = True) -> None:
        """Kill the node and start another one. The old one is fenced, and works on until it notices.

        With ``crashed`` the old one stops at once. The new one knows that it had no orderly end if there is a ``sign``.
        """
        if crashed:
            self.dispatcher.stop()
            self.dispatcher.close(range(SHARDS))
        self._earlier.append(self.host)
        self.host = TownHost(self, self.options)
        self.open(crashed=crashed and sign)

    def serve_again(self, earlier: TownHost) -> None:
        """Move all shards back to an earlier life of the node, which did not end."""
        self._earlier.append(self.host)
        self.store.epoch += 1
        earlier.shards.number = self.store.epoch
        self.host = earlier
        self.open()

    async def quiet(self) -> None:
        """Let all lives of the node stop what they still try."""
        for host in (*self._earlier, self.host):
            host.dispatcher.close(range(SHARDS))
        await asyncio.sleep(60)

    async def send(self, sender: ObjectKey, *calls: SentCall) -> None:
        error = await self.host.commit(sender, Effects(sends=calls))
        assert error is None, error

    async def mark(self, sender: ObjectKey, *marks: Mark) -> None:
        error = await self.host.commit(sender, Effects(marks=marks))
        assert error is None, error

    def pending(self, call_id: str) -> PendingCall:
        return next(call for call in self.store.outbox.values() if call.call.id == call_id)

    async def until(self, condition: Callable[[], bool], *, within_s: float = 1e5) -> None:
        end = asyncio.get_running_loop().time() + within_s
        while not condition():
            assert asyncio.get_running_loop().time() < end, "it did not come true in time"
            await asyncio.sleep(0.05)

    async def drained(self, *, within_s: float = 1e5) -> None:
        await self.until(lambda: not self.store.outbox and not self.dispatcher.outboxes.entries, within_s=within_s)


def sent(call_id: str, receiver: ObjectKey, **members: Any) -> SentCall:
    return SentCall(call_id, receiver, "work", b"{}", **members)
