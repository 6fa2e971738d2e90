"""Random programs against a node: their steps, the runner, and the properties that must hold afterwards.

Clients call a few log objects (see `tests.linearizability`) while the store delays and fails commits and answers late,
objects are passivated and the node is restarted. The runner records every reply to each client, in logical time.
"""

import asyncio
import contextlib
import itertools
from asyncio import Future
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from goverse import BusinessError, Object, call
from goverse.errors import GoverseError, StoreFailed, Unavailable
from goverse.model.frames import Reply
from goverse.model.records import CommitRecord
from goverse.ports.store import CommitOutcome
from tests.gated_store import GatedStore
from tests.linearizability import Observation, Outcome, complaints
from tests.nodes import PATIENCE_S, Bench, key_of, settle, until

OBJECTS = ("a", "b", "c")
DEADLINE_S = 0.25  # ends two chains that wait for each other
NO_EFFECT = {
    "method_failed",
    "refused_entry",
    "timeout",
    "draining",
    "deadlock",
    "reentrancy_conflict",
    "overloaded",
}
CAUSES: dict[int, tuple[str, tuple[int, ...]]] = {}
"""For each nested entry: the object whose turn asked for it, and the entries that this object had by then."""


class RefusedEntry(BusinessError):
    """The log does not take this entry."""

    status = 422
    code = "refused_entry"


class Log(Object):
    """Appends numbers, in turns of every kind and outcome."""

    entries: list[int] = []

    @call
    async def append(self, entry: int, pauses: int = 0, early: bool = False) -> list[int]:
        before = list(self.entries)
        if early:
            self.entries = [*before, entry]
        for _ in range(pauses):
            await asyncio.sleep(0)
        self.entries = [*before, entry]
        return self.entries

    @call
    def append_at_once(self, entry: int) -> list[int]:
        self.entries.append(entry)
        return self.entries

    @call(readonly=True)
    async def look(self, pauses: int = 0) -> list[int]:
        before = list(self.entries)
        for _ in range(pauses):
            await asyncio.sleep(0)
        assert before == self.entries, "the state changed under a readonly turn"
        return before

    @call(readonly=True)
    async def cheat(self, entry: int, pauses: int = 0) -> list[int]:
        for _ in range(pauses):
            await asyncio.sleep(0)
        self.entries.append(entry)
        await asyncio.sleep(0)
        return self.entries

    @call
    async def fail(self, entry: int, pauses: int = 0) -> None:
        self.entries.append(entry)
        for _ in range(pauses):
            await asyncio.sleep(0)
        raise ValueError(entry)

    @call
    async def refuse(self, entry: int, pauses: int = 0) -> None:
        before = list(self.entries)
        self.entries.append(entry)
        for _ in range(pauses):
            await asyncio.sleep(0)
        raise RefusedEntry("no", seen=before)

    @call(timeout_s=0.02)
    async def stall(self, entry: int, stubborn: bool = False) -> None:
        self.entries.append(entry)
        forever: Future[None] = asyncio.get_running_loop().create_future()
        try:
            await forever
        except asyncio.CancelledError:
            if stubborn:
                await asyncio.shield(asyncio.sleep(0.03))
            self.entries.append(-entry)

    @call
    async def spread(self, entry: int, targets: list[str], nested: list[int]) -> list[int]:
        for target, other in zip(targets, nested, strict=True):
            await self._nested(target, other)
        self.entries.append(entry)
        return self.entries

    @call(reentrant=True)
    async def spread_at_once(self, entry: int, targets: list[str], nested: list[int]) -> list[int]:
        await asyncio.gather(*map(self._nested, targets, nested))
        self.entries.append(entry)
        return self.entries

    @call(reentrant=True)
    async def round_trip(self, entry: int, through: str, nested: list[int], early: bool = False) -> list[int]:
        if early:
            self.entries.append(entry)
        CAUSES[nested[0]] = (self.id, () if early else tuple(self.entries))
        with contextlib.suppress(GoverseError):
            await self.ref(Log, through).bounce(to=self.id, entry=nested[0])
        if not early:
            self.entries.append(entry)
        return self.entries

    @call
    async def bounce(self, to: str, entry: int) -> list[int]:
        return await self.ref(Log, to).append(entry=entry, pauses=1)

    async def _nested(self, target: str, entry: int) -> None:
        CAUSES[entry] = (self.id, tuple(self.entries))
        await self.ref(Log, target).append(entry=entry, pauses=1, early=True)


class WatchedStore(GatedStore):
    """Keeps the durable state by object, and checks each record against the previous one."""

    def __init__(self) -> None:
        super().__init__()
        self.logs: dict[str, list[int]] = defaultdict(list)
        self.versions: dict[str, int] = defaultdict(int)
        self.violations: list[str] = []
        self.lose_answers = 0

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        noted = len(self.durable)
        outcomes = await super().commit(batch)
        for seq, record in self.durable[noted:]:
            self._note(seq, record)
        if self.lose_answers:
            self.lose_answers -= 1
            raise OSError("the answer was lost")
        return outcomes

    def _note(self, seq: int, record: CommitRecord) -> None:
        if not record.changes_object:
            return
        object_id = record.key.id
        entries = orjson.loads(record.state or b"{}")["entries"]
        if record.version != self.versions[object_id] + 1:
            self.violations.append(f"{object_id} went from version {self.versions[object_id]} to {record.version}")
        for entry in entries[len(self.logs[object_id]) :]:
            origin, seen = CAUSES.get(entry, ("", ()))
            if origin and self.logs[origin][: len(seen)] != list(seen):
                self.violations.append(f"{entry} left {origin} before {seen} was durable")
        self.versions[object_id] = record.version
        self.logs[object_id] = entries


@dataclass
class Action:
    """A step of a program: a call by a client, or an event of the node."""

    what: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class Client:
    """An intended effect, with all attempts."""

    target: str
    method: str
    arguments: dict[str, Any]
    key: str | None
    called: int
    returned: int = 0
    replies: list[Reply] = field(default_factory=list[Reply])
    given_up: bool = False

    @property
    def entry(self) -> int | None:
        return self.arguments.get("entry")

    @property
    def done(self) -> Reply | None:
        return next((reply for reply in self.replies if reply.problem is None), None)

    def observed(self) -> Observation:
        codes = [reply.problem.code for reply in self.replies if reply.problem is not None]
        if (done := self.done) is not None:
            outcome, seen = Outcome.DONE, orjson.loads(done.body)
        elif codes and set(codes) <= NO_EFFECT and not self.given_up:
            outcome, seen = Outcome.FAILED, self._seen_by_refusal()
        else:
            outcome, seen = Outcome.UNKNOWN, self._seen_by_refusal()
        return Observation(self.entry, self.called, self.returned, outcome, None if seen is None else tuple(seen))

    def _seen_by_refusal(self) -> list[int] | None:
        for reply in self.replies:
            if reply.problem is not None and "seen" in reply.problem.extra:
                return list(reply.problem.extra["seen"])
        return None


class Run:
    """A running program."""

    def __init__(self, bench: Bench, store: WatchedStore) -> None:
        self.bench = bench
        self.store = store
        self.clients: list[Client] = []
        self.violations: list[str] = []
        self._ticks = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._futures: list[tuple[Client, Future[Reply]]] = []

    async def act(self, action: Action) -> None:
        await getattr(self, f"_{action.what}")(**action.arguments)

    # --- clients ------------------------------------------------------------------------------------------------------

    async def _call(self, target: str, method: str, attempts: int, **arguments: Any) -> None:
        number = len(self.clients) + 1
        if method != "look":
            arguments["entry"] = number
        if "nested" in arguments:
            arguments["nested"] = [number * 1000 + place for place in range(arguments["nested"])]
        client = Client(target, method, arguments, f"k{number}" if attempts else None, next(self._ticks))
        self.clients.append(client)
        self._start(client, max(attempts, 1))

    async def _twin(self, which: int) -> None:
        if self.clients and self.clients[which % len(self.clients)].key is not None:
            self._start(self.clients[which % len(self.clients)], 1)

    async def _cancel(self, which: int) -> None:
        waiting = [(client, future) for client, future in self._futures if not future.done()]
        if waiting:
            client, future = waiting[which % len(waiting)]
            client.given_up = True
            future.cancel()

    def _start(self, client: Client, attempts: int) -> None:
        self._tasks.append(asyncio.ensure_future(self._attempt(client, attempts)))

    async def _attempt(self, client: Client, attempts: int) -> None:
        for _ in range(attempts):
            future = self.bench.call(
                Log, client.target, client.method, client.arguments, timeout_s=DEADLINE_S, idempotency_key=client.key
            )
            self._futures.append((client, future))
            try:
                reply = await future
            except asyncio.CancelledError:
                continue
            if client.done is None:
                client.returned = next(self._ticks)
            client.replies.append(reply)
            self._check_reply(client, reply)
            if reply.problem is None or not reply.problem.retryable:
                return

    def _check_reply(self, client: Client, reply: Reply) -> None:
        """Check that the state in a reply is durable when the reply arrives."""
        seen = client.observed().seen
        durable = self.store.logs[client.target]
        if seen is not None and list(seen) != durable[: len(seen)]:
            self.violations.append(f"{client} received {seen} while {durable} was durable")
        if reply.commit_seq > self.store.seq:
            self.violations.append(f"{client} received position {reply.commit_seq} while {self.store.seq} was durable")
        if client.done is not None and reply.problem is None and reply.body != client.done.body:
            self.violations.append(f"{client} received different replies under one key")

    # --- events of the node -------------------------------------------------------------------------------------------

    async def _pass_time(self, turns: int) -> None:
        await settle(turns)

    async def _hold(self) -> None:
        self.store.hold()

    async def _release(self) -> None:
        self.store.release()

    async def _fail_commit(self, how: str) -> None:
        if how == "lost answer":
            self.store.lose_answers += 1
        elif how == "conflict":
            self.store.refuse(lambda record: record.key.id == "a")
        else:
            self.store.fail({"full": Unavailable("full"), "failed": StoreFailed("fsync"), "odd": OSError("odd")}[how])

    async def _defer(self, deferring: bool) -> None:
        self.store.deferring = deferring
        self.store.answer()

    async def _answer(self) -> None:
        self.store.answer()

    async def _passivate(self) -> None:
        for activation in self.bench.node.activations:
            if activation.idle:
                activation.close()

    async def _restart(self) -> None:
        self.store.answer()
        await self.bench.restart(drain_timeout_s=0.01)

    # --- the end ------------------------------------------------------------------------------------------------------

    async def finish(self) -> list[str]:
        """Let everything finish; return the violations."""
        self.store.deferring = False

        def over() -> bool:
            self.store.release()
            self.store.answer()
            return all(task.done() for task in self._tasks)

        await until(over)
        for task in self._tasks:
            task.result()
        await until(lambda: self.bench.at_rest)
        found = [*self.violations, *self.store.violations]
        for object_id in OBJECTS:
            final = await self._final(object_id)
            history = [client.observed() for client in self.clients if client.target == object_id]
            found.extend(f"{object_id}: {each}" for each in complaints(history, final))
            if any(entry < 0 for entry in final):
                found.append(f"{object_id}: a cancelled method took effect: {final}")
            if self.store.logs[object_id] != final:
                found.append(f"{object_id}: {final} is shown, {self.store.logs[object_id]} is durable")
        return found

    async def _final(self, object_id: str) -> list[int]:
        warm = await self.bench.call(Log, object_id, "look", timeout_s=PATIENCE_S)
        self.bench.node.activations.get(key_of(Log, object_id)).close()  # type: ignore[union-attr]
        await until(lambda: not self.bench.node.activations.leaving)
        cold = await self.bench.call(Log, object_id, "look", timeout_s=PATIENCE_S)
        if warm.body != cold.body:
            return [-1]
        entries: list[int] = orjson.loads(cold.body)
        return entries
