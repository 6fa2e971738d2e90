"""Programs of reliable calls: parties on a real node send, cancel, fail and expire, while the node dies and restarts.

Time is virtual. The objects are those of the simulation, and so is the oracle (``tests.simulation.call_log``), which
compares each commit record with what the turns did. Here the store is a real one: a ``MemoryStore``, or a ``WalStore``
with its thread, which the loop waits for.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any, Final, NamedTuple, TypeVar, TypeVarTuple, Unpack

import orjson

from goverse.errors import GoverseError, Unavailable
from goverse.model.frames import Operation, Reply, Request
from goverse.model.keys import DEFAULT_NAMESPACE, ObjectKey
from goverse.model.records import CommitRecord
from goverse.objects.registry import Registry
from goverse.ports.store import CommitOutcome, Conflict
from goverse_node.messages.operating import Operating
from goverse_node.messages.outboxes import Entry
from goverse_node.node import Node
from goverse_node.options import NodeOptions
from goverse_node.stores.memory import MemoryStore
from goverse_node.stores.wal.store import WalStore
from tests.gated_store import GatedStore
from tests.simulation.call_log import CallLog
from tests.simulation.loop import VirtualLoop
from tests.simulation.program import CHANCE, Party
from tests.simulation.world import LoopClock

PARTIES: Final = ("a", "b", "c")
TIMEOUT_S: Final = 30.0
END_S: Final = 5_000.0
LOOK_S: Final = 0.5

T = TypeVar("T")
_Ts = TypeVarTuple("_Ts")


class Action(NamedTuple):
    """One step of a program: the name of a method of ``Run`` and its arguments."""

    what: str
    arguments: dict[str, Any]


class OutsideLoop(VirtualLoop):
    """A virtual loop for a store with a thread: time stands still while the thread works, and the loop waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._outside = 0
        self._returned: SimpleQueue[asyncio.Handle] = SimpleQueue()

    async def outside(self, work: Awaitable[T]) -> T:
        """Wait for work that another thread carries out."""
        self._outside += 1
        try:
            return await work
        finally:
            self._outside -= 1

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context if context is not None else copy_context())
        self._returned.put(handle)
        return handle

    def _run_once(self) -> None:
        if not self._work and (self._outside or not self._returned.empty()):
            self._work.append((self._returned.get(), None))
        super()._run_once()


class LoggedStore(GatedStore):
    """A store that shows all durable records to the log. Once it is dead, the node that uses it commits nothing.

    Attributes:
        dead: True if the node has been killed.
        failures: how the next commits fail: ``unavailable``, ``receipts`` (those are refused), or ``removals``.
    """

    def __init__(self, inner: MemoryStore | WalStore, log: CallLog, loop: OutsideLoop) -> None:
        super().__init__(inner)
        self.dead = False
        self.failures: list[str] = []
        self._log, self._loop = log, loop
        self._working: dict[asyncio.Task[Sequence[CommitOutcome]], None] = {}

    async def open(self) -> None:
        await self._loop.outside(super().open())

    async def close(self) -> None:
        """Finish what arrived, and close."""
        if self._working:
            await asyncio.wait(self._working)
        await self._loop.outside(super().close())

    async def commit(self, batch: Sequence[CommitRecord]) -> Sequence[CommitOutcome]:
        while self._shut is not None:
            await self._shut
        failure = self.failures.pop() if self.failures else ""
        if self.dead or failure == "unavailable":
            raise Unavailable("the store does not answer")
        task = asyncio.ensure_future(self._carry_out(batch, failure))
        self._working[task] = None
        task.add_done_callback(self._working.pop)
        return await asyncio.shield(task)

    async def _carry_out(self, batch: Sequence[CommitRecord], failure: str) -> Sequence[CommitOutcome]:
        taken = [record for record in batch if not _has(record, failure)]
        passed = iter(await self._loop.outside(self.inner.commit(taken)))
        outcomes = [Conflict("the test refuses it") if _has(each, failure) else next(passed) for each in batch]
        for record, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, Conflict):
                self._log.recorded(record, outcome)
        return outcomes


def _has(record: CommitRecord, what: str) -> bool:
    effects = record.effects
    if not what or effects is None:
        return False
    return bool(effects.removes if what == "removals" else effects.settles)


class Run:
    """One program: the node, the store and the log."""

    def __init__(self, loop: OutsideLoop, directory: Path | None, seed: int) -> None:
        self.found: list[str] = []
        self.log = CallLog(self.found)
        self._loop, self._directory = loop, directory
        self._random = Random(seed)
        self._memory = MemoryStore(clock=LoopClock(loop))
        self._calls: dict[asyncio.Task[None], None] = {}
        self._ids: list[tuple[str, str]] = []
        self._numbers = count(1)

    async def start(self) -> None:
        """Open the store, and start a node over it."""
        clock, directory = LoopClock(self._loop), self._directory
        inner = WalStore(directory, clock=clock, snapshot_bytes=0) if directory is not None else self._memory
        self.store = LoggedStore(inner, self.log, self._loop)
        await self.store.open()
        options = NodeOptions(delivery_timeout_s=2.0)
        self.node = Node(Registry((Party,)), self.store, clock=clock, options=options, entropy=self._random.randbytes)
        self.operating = Operating(self.node.dispatcher, self.store, self._new_id, clock.wall_ms)
        await self.node.start()

    def _new_id(self, _sender: ObjectKey) -> str:
        return f"again-{next(self._numbers)}"

    # --- actions ------------------------------------------------------------------------------------------------------

    def act(self, action: Action) -> Coroutine[Any, Any, None]:
        """Return an action as a coroutine."""
        found: Coroutine[Any, Any, None] = getattr(self, f"do_{action.what}")(**action.arguments)
        return found

    async def do_post(self, party: str, method: str, parcels: list[dict[str, Any]]) -> None:
        """Let a party send calls, and do not wait for the reply."""
        prefix = {"post_silently": "silent-", "post_and_fail": "never-"}.get(method, "")
        named = [{"name": f"{prefix}{next(self._numbers)}", **parcel} for parcel in parcels]
        self._spawn(self._post(party, method, named))

    async def _post(self, party: str, method: str, parcels: list[dict[str, Any]]) -> None:
        reply = await self._ask(Operation.CALL, party, method, {"parcels": parcels})
        if reply is not None and reply.problem is None:
            self.log.acknowledged(parcel["name"] for parcel in parcels)
            self._ids += [(party, call_id) for call_id in orjson.loads(reply.body)]

    async def do_take_back(self, which: int) -> None:
        """Cancel a call that was sent, by a turn of its sender."""
        if self._ids:
            party, call_id = self._ids[-1 - which % len(self._ids)]
            self._spawn(self._ask(Operation.CALL, party, "take_back", {"call_id": call_id}))

    async def do_delete(self, party: str) -> None:
        self._spawn(self._ask(Operation.DELETE, party, "", {}))

    async def do_operate(self, how: str, which: int) -> None:
        """Cancel, skip or retry a pending call, as an operator does."""
        entry = self._entry(which)
        if entry is not None and how == "retry":
            self.operating.retry_entry(entry)
        elif entry is not None:
            self._spawn(self._tried(getattr(self.operating, f"{how}_entry")(entry)))

    async def do_pause(self, source: str, target: str) -> None:
        self.operating.pause(_key(source), _key(target), 0)

    async def do_resume(self, source: str, target: str) -> None:
        self.operating.resume(_key(source), _key(target))

    async def do_redrive(self, which: int, times: int) -> None:
        """Send a dead letter again, several times at once."""
        letters = self.log.dead()
        if letters:
            letter = letters[which % len(letters)]
            body = orjson.dumps({"name": letter.name, "how": "take", "onward": ""})
            for _ in range(times):
                self._spawn(self._tried(self.operating.redrive(letter.sender, letter.call.id, 0, body=body)))

    async def do_wait(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)

    async def do_passivate(self) -> None:
        """Passivate all objects that are idle."""
        for activation in self.node.activations:
            if activation.idle:
                activation.close()

    async def do_fail(self, how: str, times: int) -> None:
        """Let the next commits fail."""
        self.store.failures += [how] * times

    async def do_hold(self, ms: int) -> None:
        """Hold all commits for a while."""
        self.store.hold()
        self._loop.call_later(ms / 1000, self.store.release)

    async def do_kill(self) -> None:
        """Kill the node: what has not reached the store is lost. Then start another one."""
        self.store.dead = True
        await self._restart()

    async def do_restart(self) -> None:
        """Stop the node in order, and start another one."""
        await self._restart(5.0)

    async def _restart(self, drain_s: float = 0.0) -> None:
        self.store.release()
        await self.node.stop(drain_s)
        await self.store.close()
        await self.start()

    # --- requests -----------------------------------------------------------------------------------------------------

    def _entry(self, which: int) -> Entry | None:
        entries = list(self.node.dispatcher.outboxes.entries.values())
        return entries[which % len(entries)] if entries else None

    async def _tried(self, work: Awaitable[object]) -> None:
        with suppress(GoverseError):
            await work

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._calls[task] = None
        task.add_done_callback(self._calls.pop)

    async def _ask(self, operation: Operation, party: str, method: str, arguments: dict[str, Any]) -> Reply | None:
        body = orjson.dumps(arguments) if arguments else b""
        request = Request(operation, _key(party), method, body, self.node.now() + TIMEOUT_S, "r")
        answer: Future[Reply] = self.node.submit(request)
        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                return await answer
        except TimeoutError:
            return None

    # --- the end ------------------------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """End all faults, wait until all calls have ended, and check what is left."""
        self.store.failures.clear()
        self.store.release()
        end = self._loop.time() + END_S
        outboxes = self.node.dispatcher.outboxes
        await self._help()
        while (self._calls or outboxes.entries) and self._loop.time() < end:
            await asyncio.sleep(LOOK_S)
            await self._help()
        self.log.finish([call.number for call in await self.store.pending([0], limit=10)])
        if outboxes.entries or outboxes.pairs or outboxes.delayed:
            self.found.append(f"the outboxes still have {outboxes.entries} and {outboxes.pairs}")
        await self.node.stop(5.0)
        await self.store.close()
        self.found.extend(self._loop.errors)

    async def _help(self) -> None:
        """Do what an operator has to do: resume the pairs that are paused, and skip the calls that are held."""
        for pair in list(self.operating.paused()):
            self.operating.resume(pair.sender, pair.receiver)
        for entry in list(self.node.dispatcher.outboxes.entries.values()):
            if entry.place.held:
                await self._tried(self.operating.skip_entry(entry))


def _key(party: str) -> ObjectKey:
    return ObjectKey(DEFAULT_NAMESPACE, "Party", party)


def play(program: Sequence[Action], directory: Path | None = None, seed: int = 0) -> Run:
    """Run a program over a store in ``directory``, or in memory. ``found`` of the result has the violations."""
    loop = OutsideLoop()
    CHANCE.seed(seed)

    async def main() -> Run:
        run = Run(loop, directory, seed)
        await run.start()
        for action in program:
            await run.act(action)
        await run.finish()
        return run

    try:
        return loop.run_until_complete(main())
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left)) if left else None
        loop.close()
